"""What runs, datasets and scores have in common as jobs: guards, cancelling, queueing again."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backend.archive import Archive
from backend.beats import BeatWatch
from backend.disk import accepts_new_work, freeable_bytes, require_space
from backend.dispatch import Dispatcher
from backend.home_usage import HomeUsage
from backend.live import Live
from backend.places import NO_PLACE, no_place, places_for, require_place
from backend.retention import Freed, Item, Retention, surplus
from worker.contract.errors import ConflictError, NotFoundError, UnavailableError
from worker.contract.keys import JobKind
from worker.contract.layout import Home, sync_folder, write_atomically, write_json
from worker.contract.ledger import Ledger
from worker.contract.record import Change, FinalState, JobFacts, JobRecord, Moved
from worker.contract.settings import Settings


@dataclass(frozen=True)
class JobTools:
    """What every kind of job needs to be accepted, moved and deleted."""

    ledger: Ledger
    live: Live
    home: Home
    settings: Settings
    dispatcher: Dispatcher
    archive: Archive
    watch: BeatWatch
    usage: HomeUsage

    def record(self, kind: JobKind, job_id: str) -> JobRecord:
        """Returns a job as the ledger has it.

        Raises:
            NotFoundError: when there is none of that id.
        """
        record = self.ledger.get(kind, job_id)
        if record is None:
            raise NotFoundError(f"There is no {kind} with the id {job_id!r}.", code=f"{kind}-not-found")
        return record

    def require_rebuilt(self) -> None:
        """Passes unless Redis was emptied and is being filled again: what is not listed then may lie on the disk.

        Raises:
            UnavailableError: code `being-rebuilt`.
        """
        if self.live.generation() is None:
            raise UnavailableError(
                "Redis was emptied, and what it knew is being read from the folders. Try again soon.",
                code="being-rebuilt",
            )

    def is_short(self) -> bool:
        """Returns whether disk or home are nearly full: what can be spared goes early then."""
        return not accepts_new_work(self.settings) or self.usage.is_short()

    def require_room(self, num_bytes: int = 0) -> None:
        """Passes when disk and home have room for new work.

        Args:
            num_bytes: what it will about write into the home.

        Raises:
            InsufficientStorageError: code `disk-full`, or `home-full`.
        """
        require_space(self.settings)
        self.usage.require(num_bytes)

    def require_place(self, kind: JobKind, owner: str) -> None:
        """Passes when there is a place for one more job of a user, before anything is done for it.

        Raises:
            TooManyError: code `queue-full` or `share-full`.
            HomeFullError: code `too-many-runs`.
        """
        require_place(self.ledger, self.settings, kind, owner)

    def admit(
        self,
        kind: JobKind,
        job_id: str,
        *,
        created_ms: int,
        facts: JobFacts,
        owner: str,
        folder: Path | None,
        waiting_for: str | None = None,
    ) -> None:
        """Makes a job, whose folder is written, known to the ledger.

        Args:
            kind: of the job.
            job_id: its id.
            created_ms: when it was accepted.
            facts: what lists show and filter by.
            owner: who asked for it.
            folder: what is removed when another request took the last place meanwhile; None: nothing.
            waiting_for: what it waits for, if it cannot start yet.

        Raises:
            TooManyError: code `queue-full` or `share-full`.
            HomeFullError: code `too-many-runs`.
        """
        places = places_for(self.settings, kind, owner)
        change = self.ledger.create(
            kind, job_id, created_ms=created_ms, facts=facts, waiting_for=waiting_for, owner=owner, places=places
        )
        if change in NO_PLACE:
            if folder is not None:
                self.archive.purge(folder)
            raise no_place(change, kind, places)

    def expire(self, kind: JobKind, retention: Retention, folders: Path) -> Freed:
        """Deletes ended jobs of a kind for good that are beyond what is kept, never one that waits or runs.

        Args:
            kind: score or batch.
            retention: what is kept; age counts from the end of a job.
            folders: where their folders lie.
        """
        now = time.time()
        items = []
        for record in self.ledger.get_many(kind, self.ledger.ids(kind)):
            size = 0 if retention.max_bytes is None else freeable_bytes(folders / record.id)
            age_s = now - (record.finished_ms or record.created_ms) / 1_000
            items.append(Item(record.id, age_s, size, in_use=not record.ended))
        freed = Freed()
        for item in surplus(items, retention):
            size = freeable_bytes(folders / item.key)
            if self.ledger.delete(kind, item.key) is Change.OK:
                self.archive.purge(folders / item.key)
                freed += Freed(1, size)
        return freed

    def ask_to_cancel(self, kind: JobKind, job_id: str, request: Path) -> Moved:
        """Writes the request to cancel durably, then tells the ledger.

        Args:
            kind: run or dataset.
            job_id: the job.
            request: its cancel.json.

        Raises:
            NotFoundError: when there is no such job.
            ConflictError: code `already-ended`, when it has ended.
        """
        record = self.record(kind, job_id)
        if not record.ended:
            write_json(request, {"format": 1, "time": datetime.now(UTC).isoformat()})
            moved = self.ledger.cancel(kind, job_id)
            if isinstance(moved, Moved):
                return moved
            request.unlink(missing_ok=True)  # it ended in between
            record = self.record(kind, job_id)
        raise ConflictError(f"The {kind} {job_id} is {record.state} already.", code="already-ended")

    def queue_again(
        self,
        kind: JobKind,
        job_id: str,
        traces: tuple[Path, ...],
        from_states: Collection[FinalState] = ("failed", "cancelled"),
        *,
        owner: str | None,
    ) -> None:
        """Queues an ended job again.

        Args:
            kind: run or dataset.
            job_id: the job.
            traces: files that say that it ended; removed first, so that no restart takes it for ended.
            from_states: states from which this is allowed.
            owner: who asked for it; None: nobody, another job needs it, and finds a place in any case.

        Raises:
            NotFoundError: when there is no such job.
            ConflictError: code `not-resumable`, in any other state.
            TooManyError: code `queue-full` or `share-full`.
        """
        record = self.record(kind, job_id)
        if record.state in from_states:
            if owner is not None:
                self.require_place(kind, owner)
            places = None if owner is None else places_for(self.settings, kind, owner)
            kept = [(trace, trace.read_bytes()) for trace in traces if trace.exists()]
            for trace in traces:
                trace.unlink(missing_ok=True)
            sync_folder(traces[0].parent)
            change = self.ledger.resume(kind, job_id, from_states=from_states, owner=owner or "", places=places)
            if change is Change.OK:
                return
            if change in NO_PLACE and places is not None:
                for trace, content in kept:
                    write_atomically(trace, content)
                raise no_place(change, kind, places)
            record = self.record(kind, job_id)
        raise ConflictError(
            f"The {kind} {job_id} is {record.state}; only what failed or was cancelled can be resumed.",
            code="not-resumable",
        )


def now_ms() -> int:
    """Returns the time in ms since 1970."""
    return time.time_ns() // 1_000_000


def same_json(first: object, second: object) -> bool:
    """Returns whether two documents are equal as JSON."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
