"""The names of Redis keys: the only place where one is spelt."""

from __future__ import annotations

from typing import Literal

JobKind = Literal["run", "dataset", "score", "batch"]

PREFIX = "gapscope"
GENERATION = f"{PREFIX}:generation"
"""Set by a backend that has rebuilt Redis from the run folders; missing when Redis was emptied."""

QUEUES: dict[JobKind, str] = {"run": "train", "dataset": "prepare", "score": "score", "batch": "score"}
TASKS: dict[JobKind, str] = {
    "run": "gapscope.train",
    "dataset": "gapscope.prepare",
    "score": "gapscope.score",
    "batch": "gapscope.score_batch",
}
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


def series(run_id: str) -> str:
    """Returns the key of a run's thinned curves for lists (see backend.series)."""
    return f"{PREFIX}:run:{run_id}:series"


def worker_beat(name: str) -> str:
    """Returns the key, expiring, under which a worker says that it lives."""
    return f"{PREFIX}:worker:{name}"


WEBHOOK_MARK = f"{PREFIX}:webhooks:mark"
"""The server's time in ms up to which ends of runs were looked for; missing while no address is set."""
WEBHOOK_MESSAGES = f"{PREFIX}:webhooks:messages"
"""Hash: id of a message that still has to be sent -> the message."""
WEBHOOK_STATUS = f"{PREFIX}:webhooks:status"
"""Hash: address -> what became of the last messages to it."""
WORKER_BEATS = f"{PREFIX}:worker:*"


def idempotency(digest: str) -> str:
    """Returns the key, expiring, of the answer to a POST that carried an Idempotency-Key."""
    return f"{PREFIX}:idempotency:{digest}"
