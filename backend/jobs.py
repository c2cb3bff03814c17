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
from backend.dispatch import Dispatcher
from backend.live import Live
from worker.contract.errors import ConflictError, NotFoundError, TooManyError
from worker.contract.keys import JobKind
from worker.contract.layout import Home, sync_folder, write_json
from worker.contract.ledger import Ledger
from worker.contract.record import Change, FinalState, JobRecord, Moved
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

    def record(self, kind: JobKind, job_id: str) -> JobRecord:
        """Returns a job as the ledger has it.

        Raises:
            NotFoundError: when there is none of that id.
        """
        record = self.ledger.get(kind, job_id)
        if record is None:
            raise NotFoundError(f"There is no {kind} with the id {job_id!r}.", code=f"{kind}-not-found")
        return record

    def require_place(self, kind: JobKind, limit: int) -> None:
        """Passes when the queue of a kind has room.

        Raises:
            TooManyError: code `queue-full`, when it has not.
        """
        queued = sum(record.state == "queued" for record in self.ledger.active(kind))
        if queued >= limit:
            raise TooManyError(
                f"{queued:,} jobs of this kind wait already; at most {limit:,} may. Wait, or cancel some.",
                code="queue-full",
            )

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
    ) -> None:
        """Queues an ended job again.

        Args:
            kind: run or dataset.
            job_id: the job.
            traces: files that say that it ended; removed first, so that no restart takes it for ended.
            from_states: states from which this is allowed.

        Raises:
            NotFoundError: when there is no such job.
            ConflictError: code `not-resumable`, in any other state.
        """
        record = self.record(kind, job_id)
        if record.state in from_states:
            for trace in traces:
                trace.unlink(missing_ok=True)
            sync_folder(traces[0].parent)
            if self.ledger.resume(kind, job_id, from_states=from_states) is Change.OK:
                return
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
