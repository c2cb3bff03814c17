"""The names of Redis keys: the only place where one is spelt."""

from __future__ import annotations

from typing import Literal

JobKind = Literal["run", "dataset", "score"]

PREFIX = "gapscope"
GENERATION = f"{PREFIX}:generation"
"""Set by a backend that has rebuilt Redis from the run folders; missing when Redis was emptied."""

QUEUES: dict[JobKind, str] = {"run": "train", "dataset": "prepare", "score": "score"}
TASKS: dict[JobKind, str] = {"run": "gapscope.train", "dataset": "gapscope.prepare", "score": "gapscope.score"}
"""Names of the Celery tasks; each takes one argument, the job's id, and only means "look at this job"."""


def job(kind: JobKind, job_id: str) -> str:
    """Returns the key of a job's ledger hash."""
    return f"{PREFIX}:{kind}:{job_id}"


def jobs(kind: JobKind) -> str:
    """Returns the key of the sorted set of a kind's jobs, by time of creation (ms)."""
    return f"{PREFIX}:{kind}s"


def active(kind: JobKind) -> str:
    """Returns the key of the set of a kind's jobs that are queued, running or cancelling."""
    return f"{PREFIX}:{kind}s:active"


def events(run_id: str) -> str:
    """Returns the key of a run's stream of events, whose ids are `<seq>-0`."""
    return f"{PREFIX}:run:{run_id}:events"


def worker_beat(name: str) -> str:
    """Returns the key, expiring, under which a worker says that it lives."""
    return f"{PREFIX}:worker:{name}"


WORKER_BEATS = f"{PREFIX}:worker:*"


def idempotency(digest: str) -> str:
    """Returns the key, expiring, of the answer to a POST that carried an Idempotency-Key."""
    return f"{PREFIX}:idempotency:{digest}"
