"""The ledger: which job is in which state and who holds it. One hash a job; every change one atomic script.

Runs, dataset preparations and scores go through the same ledger. A holder shows its token with every change; a stale
token is refused. The ledger is live state: the folders are the record, and it can be rebuilt from them (`restore`).
Works with Redis 6.2 and later and with Valkey. Every operation may be repeated when its answer was lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import cast

import redis

from worker.contract import keys
from worker.contract.errors import Problem
from worker.contract.keys import JobKind
from worker.contract.record import (
    Appended,
    Change,
    Claim,
    FinalState,
    JobFacts,
    JobRecord,
    LedgerState,
    Moved,
    Places,
    Refusal,
    Renewal,
)

STREAM_LENGTH = 1_000
"""Events that a run's stream keeps, about; older ones are read from the archive."""
STREAM_LIFE_S = 600
"""Seconds for which the stream of an ended run is kept, as in the script."""
DATASET_PREFIX = "dataset "
"""How `waiting_for` of a run begins that waits for a dataset; its id follows."""


class Ledger:
    """All jobs of one installation."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._script = client.register_script(Path(__file__).with_suffix(".lua").read_text())

    def create(
        self,
        kind: JobKind,
        job_id: str,
        *,
        created_ms: int,
        facts: JobFacts,
        waiting_for: str | None = None,
        owner: str = "",
        places: Places | None = None,
    ) -> Change:
        """Adds a queued job; no change where there is one of that id (EXISTS), or no place for one more.

        Of many callers at once no two get the last place: they are counted in the same step.

        Args:
            kind: run, dataset or score.
            job_id: a checked id.
            created_ms: when it was accepted, ms since 1970.
            facts: what lists show and filter by.
            waiting_for: what it waits for, if it cannot start yet.
            owner: who asked for it.
            places: how many there may be; None: any number.
        """
        limits = (owner, *_limits(places), _limit(places.kept if places else None))
        fields = _pairs({"facts": facts.model_dump_json(), "waiting_for": waiting_for})
        return Change(self._run("create", kind, job_id, created_ms, *limits, *fields)[0])

    def claim(self, kind: JobKind, job_id: str, holder: str, *, dataset_id: str | None = None) -> Claim | Refusal:
        """Takes a queued job, or says why not.

        Args:
            kind: run, dataset or score.
            job_id: the job that a message said to look at.
            holder: a name never used before, so that a repeated call is told from a second claimant.
            dataset_id: the dataset that must have ended before (ready or not); until then the job stays queued and
                says what it waits for. One that is not listed is waited for only until the ledger is rebuilt.
        """
        waits = DATASET_PREFIX + dataset_id if dataset_id else ""
        answer = self._run("claim", kind, job_id, holder, waits, needed=dataset_id)
        if answer[0] != "ok":
            return Refusal(answer[0])
        token, attempt, deaths, reason, started_ms = answer[1:]
        return Claim(kind, job_id, holder, int(token), int(attempt), int(deaths), int(started_ms), reason)

    def renew(self, claim: Claim) -> Renewal:
        """Raises the beat of a held job.

        A job that was reaped or rebuilt from its folder, and that nobody took, is the holder's again.
        """
        return Renewal(self._run("renew", claim.kind, claim.id, claim.token, claim.attempt, claim.holder)[0])

    def set_progress(self, kind: JobKind, job_id: str, token: int, progress: str, *, done: int | None = None) -> Change:
        """Keeps the newest progress (JSON of RunProgress, PrepareProgress or BatchProgress).

        Args:
            kind: run, dataset or batch.
            job_id: the job.
            token: the holder's token.
            progress: as JSON.
            done: of a batch, the clips done: deaths count anew once there are more, as with a run's epochs.
        """
        fields = {"progress": progress} | ({"epoch": str(done)} if done is not None else {})
        return Change(self._run("update", kind, job_id, token, *_pairs(fields))[0])

    def append(
        self, run_id: str, token: int, seq: int, event: str, fields: Mapping[str, str | None] | None = None
    ) -> Appended:
        """Adds an event to a run's stream as entry `<seq>-0`, and sets fields of the job in the same step.

        Args:
            run_id: the run.
            token: the writer's token.
            seq: the event's number.
            event: the event as JSON.
            fields: fields of the hash, such as summary, progress and epoch; None deletes one.
        """
        pairs = _pairs(fields or {})
        return Appended(self._run("append", "run", run_id, token, seq, event, STREAM_LENGTH, *pairs)[0])

    def let_streams_go(self) -> None:
        """Gives the streams of all ended runs, which an older version kept for ever, the time that they may stay."""
        active = set(self.active_ids("run"))
        pipeline = self._client.pipeline(transaction=False)
        for run_id in self.ids("run"):
            if run_id not in active:
                pipeline.expire(keys.events(run_id), STREAM_LIFE_S)
        pipeline.execute()

    def newest_seq(self, run_id: str) -> int:
        """Returns the number of the newest event in a run's stream; 0 when it is empty."""
        entries = cast("list[tuple[str | bytes, object]]", self._client.xrevrange(keys.events(run_id), count=1))
        return int(_text(entries[0][0]).split("-")[0]) if entries else 0

    def transition(
        self,
        kind: JobKind,
        job_id: str,
        token: int,
        from_states: Collection[LedgerState],
        to: FinalState,
        *,
        error: Problem | None = None,
        fields: Mapping[str, str | None] | None = None,
    ) -> Change:
        """Ends a held job. Its outcome is on disk already.

        Args:
            kind: run, dataset or score.
            job_id: the job.
            token: the holder's token.
            from_states: states from which this is allowed.
            to: finished, failed or cancelled.
            error: why it failed.
            fields: further fields of the hash, such as result.
        """
        pairs = _pairs({"error": error.model_dump_json() if error else None, **(fields or {})})
        return Change(self._run("transition", kind, job_id, token, f",{','.join(from_states)},", to, *pairs)[0])

    def requeue(self, kind: JobKind, job_id: str, token: int, reason: str) -> Change:
        """Queues a held job again as its next attempt, because its process died. REFUSED when it is to be cancelled.

        The claim after too many deaths without a new epoch is `exhausted`; that claimant ends the job.
        """
        return Change(self._run("requeue", kind, job_id, token, reason, "", "0")[0])

    def yield_(self, kind: JobKind, job_id: str, token: int, reason: str, *, waiting_for: str | None = None) -> Change:
        """Gives a held job back as the same attempt. REFUSED when it is to be cancelled."""
        return Change(self._run("requeue", kind, job_id, token, reason, waiting_for or "", "1")[0])

    def cancel(self, kind: JobKind, job_id: str) -> Moved | Change:
        """Asks for a job to end: a queued one is cancelled, a running one becomes cancelling. REFUSED when it ended.

        Who gets `cancelled` closes the job's record with the token (journal.close_run).
        """
        answer = self._run("cancel", kind, job_id)
        return _moved(answer)

    def reap(self, kind: JobKind, job_id: str, seen: JobRecord, reason: str) -> Moved | Change:
        """Takes a job from a holder whose beat stood still: queued again, or cancelled if that was asked for.

        Args:
            kind: run, dataset or score.
            job_id: the job.
            seen: the record with the beat and token that stood still; any other beat or token by now: REFUSED.
            reason: what to say of it.
        """
        return _moved(self._run("reap", kind, job_id, seen.token, seen.beat, reason))

    def resume(
        self,
        kind: JobKind,
        job_id: str,
        *,
        from_states: Collection[FinalState] = ("failed", "cancelled"),
        owner: str = "",
        places: Places | None = None,
    ) -> Change:
        """Queues an ended job again as its next attempt; REFUSED in any state but these.

        Args:
            kind: run, dataset or batch.
            job_id: the job.
            from_states: states from which this is allowed.
            owner: who asked for it, from now on; empty: as before.
            places: how many may wait; None: any number.
        """
        limits = (owner, *_limits(places))
        return Change(self._run("resume", kind, job_id, f",{','.join(from_states)},", *limits)[0])

    def wait(self, kind: JobKind, job_id: str, waiting_for: str | None) -> Change:
        """Says what a queued job waits for; None: for nothing but a worker."""
        return Change(self._run("wait", kind, job_id, waiting_for or "")[0])

    def restore(
        self,
        kind: JobKind,
        job_id: str,
        *,
        state: LedgerState,
        created_ms: int,
        facts: JobFacts,
        attempt: int = 1,
        token: int = 0,
        fields: Mapping[str, str | None] | None = None,
    ) -> Change:
        """Brings a job back from its folder; where the ledger has it already only the token is raised (EXISTS).

        A job that may have a living holder is restored as `running` with the token in its lock file: the holder goes
        on, or its beat stands still and it is reaped.
        """
        pairs = _pairs({"facts": facts.model_dump_json(), "attempt": str(attempt), **(fields or {})})
        return Change(self._run("restore", kind, job_id, state, token, created_ms, *pairs)[0])

    def annotate(self, kind: JobKind, job_id: str, facts: JobFacts) -> Change:
        """Replaces what lists show of a job, whoever holds it and whatever its state."""
        return Change(self._run("annotate", kind, job_id, facts.model_dump_json())[0])

    def delete(self, kind: JobKind, job_id: str) -> Change:
        """Forgets an ended job and its stream; REFUSED while it is active."""
        return Change(self._run("delete", kind, job_id)[0])

    def get(self, kind: JobKind, job_id: str) -> JobRecord | None:
        """Returns a job, or None when there is none of that id."""
        records = self.get_many(kind, [job_id])
        return records[0] if records else None

    def get_many(self, kind: JobKind, job_ids: Iterable[str]) -> list[JobRecord]:
        """Returns those of the jobs that exist, in the order of their ids, in one round trip."""
        pipeline = self._client.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.hgetall(keys.job(kind, job_id))
        hashes = cast("list[dict[str | bytes, str | bytes]]", pipeline.execute())
        return [
            JobRecord.parse(kind, {_text(name): _text(value) for name, value in fields.items()})
            for fields in hashes
            if fields
        ]

    def count(self, kind: JobKind) -> int:
        """Returns how many jobs of a kind there are, ended ones too."""
        return self._client.zcard(keys.jobs(kind))

    def ids(self, kind: JobKind) -> list[str]:
        """Returns the ids of all jobs of a kind, newest first."""
        found = cast("list[str | bytes]", self._client.zrevrange(keys.jobs(kind), 0, -1))
        return [_text(job_id) for job_id in found]

    def active_ids(self, kind: JobKind) -> list[str]:
        """Returns the ids of the queued, running and cancelling jobs of a kind, in no order."""
        return [_text(job_id) for job_id in self._client.smembers(keys.active(kind))]

    def active(self, kind: JobKind) -> list[JobRecord]:
        """Returns the queued, running and cancelling jobs of a kind, oldest first."""
        records = self.get_many(kind, self.active_ids(kind))
        return sorted(records, key=lambda record: (record.created_ms, record.id))

    def waiting_on(self, dataset_id: str) -> list[str]:
        """Returns the runs to look at again once a dataset ended, oldest first."""
        return [
            record.id
            for record in self.active("run")
            if record.state == "queued" and record.waiting_for == DATASET_PREFIX + dataset_id
        ]

    def _run(
        self, operation: str, kind: JobKind, job_id: str, *arguments: str | int, needed: str | None = None
    ) -> list[str]:
        names = [
            keys.job(kind, job_id),
            keys.active(kind),
            keys.jobs(kind),
            keys.events(job_id),
            keys.job("dataset", needed or job_id),
            keys.GENERATION,
        ]
        answer = self._script(keys=names, args=[operation, job_id, *arguments])
        return [_text(part) for part in cast("list[str | bytes]", answer)]


def _moved(answer: list[str]) -> Moved | Change:
    if answer[0] != "ok":
        return Change(answer[0])
    return Moved(cast("LedgerState", answer[1]), int(answer[2]))


def _limits(places: Places | None) -> tuple[str, str]:
    return (_limit(places.queued), _limit(places.queued_of_owner)) if places else ("", "")


def _limit(number: int | None) -> str:
    return "" if number is None else str(number)


def _pairs(fields: Mapping[str, str | None]) -> list[str]:
    return [part for name, value in fields.items() for part in (name, value or "")]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
