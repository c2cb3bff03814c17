"""A run's archive of events, events.jsonl, and its live copy in Redis: the only writer, and the readers.

An event gets its number by being written here. A line that is complete never changes. The stream in Redis may be behind
(Redis was down or emptied) and catches up; it is never ahead. Runs only; preparations and scores have no events.
"""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import redis

from worker.contract.errors import CorruptRecordError, LostLeaseError
from worker.contract.event_size import fitted
from worker.contract.events import (
    MAX_EVENT_BYTES,
    EpochFinished,
    Event,
    RunCancelled,
    RunFailed,
    RunFinished,
    parse_event,
)
from worker.contract.full_disk import torn_write
from worker.contract.layout import RunFolder, sync_folder
from worker.contract.ledger import STREAM_LENGTH, Ledger
from worker.contract.lock import WAIT_S, FolderLock
from worker.contract.record import Appended, FinalState, Outcome

_SEQ = re.compile(rb'\{"seq":(\d+),')
_CHUNK = 1 << 20


class EventReader:
    """Reads a run's archive by number. Keeps where each line begins, so a later call reads only what is new."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts = array("Q", [0])
        """Where line i begins; the last entry is the end of the last complete line."""
        self._inode = 0

    def __len__(self) -> int:
        """Returns the number of complete events."""
        self._scan()
        return len(self._starts) - 1

    def read_lines(self, after: int, limit: int) -> list[bytes]:
        """Returns up to `limit` events numbered above `after`, in order, each as JSON without its newline."""
        self._scan()
        total = len(self._starts) - 1
        first, last = min(max(after, 0), total), min(max(after, 0) + max(limit, 0), total)
        if first >= last:
            return []
        with self.path.open("rb") as file:
            file.seek(self._starts[first])
            return file.read(self._starts[last] - self._starts[first]).splitlines()

    def read(self, after: int, limit: int) -> list[Event]:
        """Returns up to `limit` events numbered above `after`, in order."""
        return [parse_event(line) for line in self.read_lines(after, limit)]

    def _scan(self) -> None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._starts, self._inode = array("Q", [0]), 0
            return
        if status.st_ino != self._inode or status.st_size < self._starts[-1]:
            self._starts, self._inode = array("Q", [0]), status.st_ino
        if status.st_size == self._starts[-1]:
            return
        with self.path.open("rb") as file:
            position = self._starts[-1]
            file.seek(position)
            while chunk := file.read(_CHUNK):
                found = chunk.find(b"\n")
                while found >= 0:
                    self._starts.append(position + found + 1)
                    found = chunk.find(b"\n", found + 1)
                position += len(chunk)


def read_events(path: Path, after: int = 0, limit: int = 500) -> list[Event]:
    """Returns up to `limit` events of an archive numbered above `after`. Keep an EventReader to ask often."""
    return EventReader(path).read(after, limit)


class Journal:
    """The one writer of a run's events. Holds the folder's lock for life."""

    def __init__(
        self,
        folder: RunFolder,
        lock: FolderLock,
        ledger: Ledger | None,
        run_id: str,
        token: int,
        attempt: int,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self._folder = folder
        self._lock = lock
        self._ledger = ledger
        self._run_id = run_id
        self._token = token
        self._attempt = attempt
        self._max_event_bytes = max_event_bytes
        self._reader = EventReader(folder.events)
        self._streamed = -1
        """Newest event known to be in the stream; -1: not known."""
        self._fields: dict[str, str | None] = {}
        """Fields of the job that the ledger has not taken yet."""
        self.last: Event | None = None
        """The newest event."""
        self.last_epoch: EpochFinished | None = None
        """The newest finished epoch."""

    @classmethod
    def open(
        cls,
        folder: RunFolder,
        *,
        run_id: str,
        token: int,
        attempt: int,
        ledger: Ledger | None,
        lock: FolderLock | None = None,
        wait_s: float = WAIT_S,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> Self:
        """Returns the journal of a run, locked, cut, checked; call `recover` before going on with a run.

        Args:
            folder: the run's folder.
            run_id: the run's id.
            token: the ledger's token of the claim.
            attempt: the attempt that events are stamped with.
            ledger: where the stream is kept; None: no stream (tests, repair).
            lock: the folder's lock, if it is held already.
            wait_s: how long another writer is given to leave before it is killed.
            max_event_bytes: of one event; a longer one is shortened (see event_size).

        Raises:
            LostLeaseError: when a later claim has the folder.
            FolderBusyError: when another host has it.
            CorruptRecordError: when a line is damaged or a number is missing.
        """
        held = lock or FolderLock.acquire(folder.lock, token=token, wait_s=wait_s)
        journal = cls(folder, held, ledger, run_id, token, attempt, max_event_bytes)
        try:
            journal._cut_torn_line()
            journal._check()
        except BaseException:
            held.release()
            raise
        return journal

    @property
    def seq(self) -> int:
        """The number of the newest event; 0 when there is none."""
        return 0 if self.last is None else self.last.seq

    def recover(self, committed: EpochFinished | None) -> None:
        """Writes the event of the newest checkpoint if the archive lacks it, and to the stream what it lacks.

        Args:
            committed: the EpochFinished inside the newest complete checkpoint, if there is one.

        Raises:
            LostLeaseError: when the token is stale.
            CorruptRecordError: when the checkpoint is more than one epoch ahead.
        """
        finished = self.last_epoch.epoch if self.last_epoch else 0
        if committed is not None and committed.epoch > finished:
            if committed.epoch > finished + 1:
                raise CorruptRecordError(
                    f"The newest checkpoint of run {self._run_id} is of epoch {committed.epoch}, but the archive "
                    f"ends at epoch {finished}: events are missing."
                )
            self.append(committed, epoch_fields(committed))
        self.flush()

    def has(self, kind: str) -> bool:
        """Returns whether there is an event of a type, such as run_started."""
        mark = f'"type":"{kind}"'.encode()
        total = len(self._reader)
        return any(mark in line[:400] for first in range(0, total, 200) for line in self._reader.read_lines(first, 200))

    def append(
        self, event: Event, fields: Mapping[str, str | None] | None = None, *, attempt: int | None = None
    ) -> Event:
        """Returns the event as written: numbered, durable in the archive, and in the stream unless Redis is down.

        Args:
            event: what happened; its seq, run_id, attempt and time are set here.
            fields: fields of the job to set in the same step.
            attempt: the attempt that the event belongs to, if not this one.

        Raises:
            LostLeaseError: when the token is stale: the archive has the event, and this writer must stop.
            TrainingError: code `event-too-large`, when it cannot be shortened to what an event may take.
        """
        stamp = {"seq": self.seq + 1, "run_id": self._run_id, "time": datetime.now(UTC)}
        stamped = event.model_copy(update={**stamp, "attempt": self._attempt if attempt is None else attempt})
        stamped = self.fitting(stamped)
        self._write(stamped.model_dump_json().encode() + b"\n")
        self._remember(stamped)
        self._fields.update(fields or {})
        self._publish()
        return stamped

    def fitting(self, event: Event) -> Event:
        """Returns the event as `append` would take it; raises as that does where it would not."""
        return fitted(event, self._max_event_bytes)

    def flush(self) -> bool:
        """Returns whether the stream has every event, after giving it what it lacks; False while Redis is down.

        Raises:
            LostLeaseError: when the token is stale.
        """
        return self._publish()

    def close(self) -> None:
        """Lets the folder go."""
        self._lock.release()

    def _cut_torn_line(self) -> None:
        path = self._folder.events
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = end = os.fstat(descriptor).st_size
            while end > 0:
                start = max(end - _CHUNK, 0)
                found = os.pread(descriptor, end - start, start).rfind(b"\n")
                if found >= 0:
                    end = start + found + 1
                    break
                end = start
            if end != size:
                os.ftruncate(descriptor, end)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(self._folder.path)

    def _check(self) -> None:
        """Checks that numbers rise without a hole, and finds the newest event and epoch."""
        total = len(self._reader)
        if not total:
            return
        for first in range(0, total, 200):
            for offset, line in enumerate(self._reader.read_lines(first, 200)):
                if _seq_of(line) != first + offset + 1:
                    raise CorruptRecordError(
                        f"{self._folder.events}: line {first + offset + 1} is damaged or has another number."
                    )
        for seq in range(total, 0, -1):
            self._remember(self._parsed(seq), newest=seq == total)
            if self.last_epoch is not None:
                return

    def _parsed(self, seq: int) -> Event:
        try:
            return self._reader.read(seq - 1, 1)[0]
        except ValueError as error:
            raise CorruptRecordError(f"{self._folder.events}: line {seq} is no event: {error}.") from error

    def _remember(self, event: Event, *, newest: bool = True) -> None:
        if newest:
            self.last = event
        if isinstance(event, EpochFinished):
            self.last_epoch = event

    def _write(self, line: bytes) -> None:
        descriptor = os.open(self._folder.events, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            try:
                if os.write(descriptor, line) != len(line):
                    raise torn_write(self._folder.events)
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)

    def _publish(self) -> bool:
        if self._ledger is None:
            return True
        try:
            if self._streamed < 0 or self._streamed < self.seq - 1:
                self._streamed = self._ledger.newest_seq(self._run_id)
            first = max(self._streamed, self.seq - STREAM_LENGTH)
            for line in self._reader.read_lines(first, self.seq - first):
                if not self._send(line):
                    return False
        except redis.RedisError:
            self._streamed = -1
            return False
        return True

    def _send(self, line: bytes) -> bool:
        assert self._ledger is not None
        seq = _seq_of(line)
        fields = self._fields if seq == self.seq else {}
        match self._ledger.append(self._run_id, self._token, seq, line.decode(), fields):
            case Appended.OK | Appended.DOUBLE:
                self._streamed = seq
                fields.clear()
                return True
            case Appended.LOST:
                raise LostLeaseError(f"Run {self._run_id} belongs to another worker now.")
            case Appended.BEHIND | Appended.UNKNOWN:
                self._streamed = -1
                return False


def epoch_fields(event: EpochFinished) -> dict[str, str | None]:
    """Returns the fields of a job that change with a finished epoch."""
    return {"epoch": str(event.epoch), "summary": event.validation.model_dump_json()}


def close_run(
    folder: RunFolder,
    *,
    run_id: str,
    token: int,
    attempt: int,
    ledger: Ledger | None,
    event: RunFailed | RunCancelled,
    wait_s: float = WAIT_S,
) -> Outcome:
    """Ends the record of a run that no process trains any more: its last event, then outcome.json.

    For a run that was cancelled while queued, that died too often, or whose dataset failed. May be repeated within an
    attempt.

    Returns:
        The outcome; the ledger is told afterwards, by the caller.

    Raises:
        FolderBusyError: when a process on another host still writes there.
        LostLeaseError: when a later claim has the folder.
    """
    journal = Journal.open(folder, run_id=run_id, token=token, attempt=attempt, ledger=ledger, wait_s=wait_s)
    try:
        if isinstance(event, RunCancelled):
            event = event.model_copy(update={"epoch": journal.last_epoch.epoch if journal.last_epoch else 0})
        last = journal.last
        closed = isinstance(last, type(event)) and last.attempt == attempt  # an older one was resumed since
        if not (closed or isinstance(last, RunFinished)):
            journal.append(event)
        return finish_record(folder, journal.last)
    finally:
        journal.close()


def finish_record(folder: RunFolder, last: Event | None) -> Outcome:
    """Writes and returns the outcome that follows from a run's last event.

    Raises:
        CorruptRecordError: when the run has not ended by that event.
    """
    outcome = outcome_of(last)
    if outcome is None:
        raise CorruptRecordError(f"{folder.events}: the last event does not end the run.")
    outcome.write(folder.outcome)
    return outcome


def outcome_of(last: Event | None) -> Outcome | None:
    """Returns the outcome that a run's last event means, or None when the run goes on after it."""
    states: dict[type, FinalState] = {RunFinished: "finished", RunFailed: "failed", RunCancelled: "cancelled"}
    state = states.get(type(last))
    if last is None or state is None or last.time is None:
        return None
    error = last.error if isinstance(last, RunFailed) else None
    return Outcome(state=state, finished_at=last.time, error=error)


def _seq_of(line: bytes) -> int:
    """Returns an event's number without parsing the event (its first field, as this version writes it)."""
    found = _SEQ.match(line)
    if found:
        return int(found[1])
    try:
        return int(json.loads(line)["seq"])
    except (ValueError, KeyError, TypeError):
        return -1
