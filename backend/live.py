"""Redis, read: jobs by page, workers by their beats, queues, facts of the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import redis
from pydantic import ValidationError
from redis.exceptions import RedisError

from backend.paging import Cursor, Key, Sort, page_of
from worker.contract import keys
from worker.contract.keys import JobKind
from worker.contract.ledger import Ledger
from worker.contract.record import JobFacts, JobRecord
from worker.contract.resources import Beat

_INDEX = ("id", "state", "created_ms", "started_ms", "finished_ms", "facts", "epoch")


@dataclass(frozen=True)
class IndexEntry:
    """What a list is filtered and sorted by."""

    id: str
    state: str
    created_ms: int
    started_ms: int | None
    finished_ms: int | None
    facts: JobFacts
    epoch: int
    summary: dict[str, Any] | None = None

    @property
    def accuracy(self) -> dict[str, float | None]:
        """Validation accuracies of the newest epoch; empty before the first."""
        accuracy: dict[str, float | None] = (self.summary or {}).get("accuracy", {})
        return accuracy


SUMMARY_SORTS = frozenset({"accuracy_fused", "accuracy_audio", "accuracy_visual", "mean_abs_gap"})
SORT_KEYS: dict[str, Callable[[IndexEntry], Key]] = {
    "created_at": lambda entry: entry.created_ms,
    "started_at": lambda entry: entry.started_ms,
    "finished_at": lambda entry: entry.finished_ms,
    "name": lambda entry: entry.facts.name,
    "state": lambda entry: entry.state,
    "dataset": lambda entry: entry.facts.dataset_id,
    "objective": lambda entry: entry.facts.objective,
    "epoch": lambda entry: entry.epoch,
    "accuracy_fused": lambda entry: entry.accuracy.get("fused"),
    "accuracy_audio": lambda entry: entry.accuracy.get("audio"),
    "accuracy_visual": lambda entry: entry.accuracy.get("visual"),
    "mean_abs_gap": lambda entry: (entry.summary or {}).get("mean_abs_gap"),
}
"""Name of a sort of runs -> what is sorted by."""


class Live:
    """What Redis knows at this moment."""

    def __init__(self, client: redis.Redis, ledger: Ledger) -> None:
        self._client = client
        self._ledger = ledger
        self._facts: dict[JobKind, dict[str, JobFacts]] = {}

    def page(
        self, kind: JobKind, wanted: Callable[[IndexEntry], bool], sort: Sort, after: Cursor | None, limit: int
    ) -> tuple[list[JobRecord], Cursor | None]:
        """Returns one page of the jobs of a kind, and the cursor of the next one or None at the end."""
        entries, cursor = page_of(
            filter(wanted, self.index(kind, with_summary=sort.field in SUMMARY_SORTS)),
            key=SORT_KEYS[sort.field],
            row_id=lambda entry: entry.id,
            sort=sort,
            after=after,
            limit=limit,
        )
        return self._ledger.get_many(kind, [entry.id for entry in entries]), cursor

    def page_by_age(
        self,
        kind: JobKind,
        wanted: Callable[[JobFacts], bool] | None,
        *,
        descending: bool,
        after: Cursor | None,
        limit: int,
    ) -> tuple[list[JobRecord], Cursor | None]:
        """Returns as `page`, sorted by `created_at`: reads no more than the jobs of the page, whatever their number.

        Args:
            kind: of the jobs.
            wanted: whether a job passes, by what never changes of its facts; None: all do.
            descending: newest first.
            after: the last job of the page before.
            limit: jobs of a page, at least 1.
        """
        found = cast("list[tuple[str, float]]", self._client.zrange(keys.jobs(kind), 0, -1, withscores=True))
        if wanted is not None:
            facts = self._fixed(kind, [job_id for job_id, _ in found])
            found = [pair for pair in found if pair[0] in facts and wanted(facts[pair[0]])]
        page, cursor = page_of(
            found,
            key=lambda pair: int(pair[1]),
            row_id=lambda pair: pair[0],
            sort=Sort("created_at", descending),
            after=after,
            limit=limit,
        )
        return self._ledger.get_many(kind, [job_id for job_id, _ in page]), cursor

    def active(self, kind: JobKind) -> list[JobRecord]:
        """Returns the queued, running and cancelling jobs of a kind, newest first."""
        return self._ledger.active(kind)[::-1]

    def fixed_facts(self, kind: JobKind) -> dict[str, JobFacts]:
        """Returns what never changes of all jobs of a kind, by id; name, tags and notes may be out of date."""
        return self._fixed(kind, self._ledger.ids(kind))

    def _fixed(self, kind: JobKind, ids: list[str]) -> dict[str, JobFacts]:
        """Returns the facts of some jobs, of which only those not seen before are read."""
        known = self._facts.get(kind, {})
        new = [job_id for job_id in ids if job_id not in known]
        pipeline = self._client.pipeline(transaction=False)
        for job_id in new:
            pipeline.hget(keys.job(kind, job_id), "facts")
        texts = cast("list[str | None]", pipeline.execute()) if new else []
        read = {one: JobFacts.model_validate_json(text) for one, text in zip(new, texts, strict=True) if text}
        found = {one: known.get(one) or read[one] for one in ids if one in known or one in read}
        self._facts[kind] = found
        return found

    def index(self, kind: JobKind, *, with_summary: bool = False) -> Iterable[IndexEntry]:
        """Yields what lists of a kind are filtered and sorted by, in one round trip."""
        fields = (*_INDEX, "summary") if with_summary else _INDEX
        pipeline = self._client.pipeline(transaction=False)
        for job_id in self._ledger.ids(kind):
            pipeline.hmget(keys.job(kind, job_id), fields)
        for row in cast("list[list[str | None]]", pipeline.execute()):
            if row[0] is not None:
                yield _entry(row)

    def workers(self) -> list[Beat]:
        """Returns the workers whose beat has not expired, by name."""
        names = sorted(cast("Iterable[str]", self._client.scan_iter(match=keys.WORKER_BEATS, count=1_000)))
        texts = cast("list[str | None]", self._client.mget(names)) if names else []
        beats = []
        for text in texts:
            if text is not None:
                try:
                    beats.append(Beat.model_validate_json(text))
                except ValidationError:  # a worker of another version is no worker that we can count on
                    continue
        return beats

    def messages(self, kind: JobKind) -> list[str]:
        """Returns the messages that wait in a kind's queue."""
        return cast("list[str]", self._client.lrange(keys.QUEUES[kind], 0, -1))

    def missing(self) -> list[tuple[str, str, str]]:
        """Returns what is missing for work, as (name, expected, got); nothing when all is there."""
        try:
            self._client.ping()
            alive = {beat.queue for beat in self.workers()}
        except RedisError as error:
            return [("redis", "a server that answers", type(error).__name__)]
        return [
            (f"worker-{queue}", f"a worker of the queue {queue!r} that beat in the last 10 s", "none")
            for queue in dict.fromkeys(keys.QUEUES.values())
            if queue not in alive
        ]

    def redis_facts(self) -> dict[str, Any]:
        """Returns version, memory and eviction policy of the server."""
        facts = self._client.info()
        is_valkey = "valkey_version" in facts
        return {
            "server": "valkey" if is_valkey else "redis",
            "version": str(facts["valkey_version"] if is_valkey else facts["redis_version"]),
            "used_memory_bytes": facts["used_memory"],
            "max_memory_bytes": facts.get("maxmemory", 0),
            "eviction_policy": facts.get("maxmemory_policy", "unknown"),
        }

    def generation(self) -> str | None:
        """Returns the mark of the last rebuild, or None when Redis was emptied."""
        return cast("str | None", self._client.get(keys.GENERATION))

    def set_generation(self, value: str) -> None:
        """Marks Redis as rebuilt."""
        self._client.set(keys.GENERATION, value)


def _entry(row: list[str | None]) -> IndexEntry:
    job_id, state, created, started, finished, facts, epoch = row[:7]
    summary = row[7] if len(row) > 7 else None
    return IndexEntry(
        id=job_id or "",
        state=state or "",
        created_ms=int(created or 0),
        started_ms=int(started) if started else None,
        finished_ms=int(finished) if finished else None,
        facts=JobFacts.model_validate_json(facts or "{}"),
        epoch=int(epoch or 0),
        summary=json.loads(summary) if summary else None,
    )


def queue_positions(active: Iterable[JobRecord]) -> dict[str, int]:
    """Returns the place in the queue, from 1, of each queued job that waits for nothing but a worker.

    Args:
        active: the active jobs of one kind, oldest first.
    """
    waiting = [record.id for record in active if record.state == "queued" and record.waiting_for is None]
    return {job_id: place for place, job_id in enumerate(waiting, start=1)}
