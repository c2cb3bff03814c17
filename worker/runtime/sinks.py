"""What becomes of the loop's steps: files first, then the archive of events, then Redis.

The order of an epoch: samples, checkpoint (whose rename is the commit, and which contains the event), the line in
events.jsonl, the stream. After a crash between any two, the next start writes what is missing.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, cast

from worker.contract.events import MAX_EVENT_BYTES, EpochFinished, Event, RunFinished, RunStarted
from worker.contract.journal import Journal, epoch_fields
from worker.contract.layout import RunFolder, sync_folder
from worker.engine import checkpoint
from worker.engine.steps import EpochDone, RunDone, Snapshot
from worker.runtime.tables import SampleFiles

KEPT_EPOCHS = 2
"""Newest checkpoints that are kept; the chosen epoch's is kept as well."""


class RunSink:
    """Writes one run's results."""

    def __init__(self, folder: RunFolder, journal: Journal, tables: SampleFiles) -> None:
        self._folder = folder
        self._journal = journal
        self._tables = tables

    def epoch_done(self, done: EpochDone) -> None:
        """Commits an epoch. One whose event is written already is not told twice.

        Raises:
            LostLeaseError: when another holder has the run.
        """
        epoch = done.event.epoch
        self._tables.write_epoch(epoch, done.rows, done.columns, done.gaps, done.posteriors)
        checkpoint.save(done.snapshot, self._folder.checkpoints)
        told = self._journal.last_epoch
        if told is None or epoch > told.epoch:
            self._journal.append(done.event, epoch_fields(done.event))
        retain(self._folder.checkpoints, done.snapshot)

    def step_done(self, snapshot: Snapshot) -> None:
        """Writes the one checkpoint within an epoch."""
        checkpoint.save(snapshot, self._folder.checkpoints)

    def run_done(self, done: RunDone) -> Event:
        """Writes the test rows, then the last event, and returns it."""
        if done.test_columns is not None and done.test_rows is not None:
            self._tables.add_test(done.result.last.epoch, done.test_rows, done.test_columns)
        return self._journal.append(RunFinished(result=done.result), {"result": done.result.model_dump_json()})


def committed_event(snapshot: Snapshot | None) -> EpochFinished | None:
    """Returns the event of the last epoch that a checkpoint knows to be finished."""
    event = None if snapshot is None else snapshot.record.get("event")
    return None if event is None else EpochFinished.model_validate(event)


def retain(folder: Path, snapshot: Snapshot) -> None:
    """Deletes the checkpoints that nobody needs once an epoch is committed."""
    chosen = cast(dict[str, Any] | None, snapshot.record.get("chosen"))
    found = checkpoint.epoch_checkpoints(folder)
    kept = {*sorted(found)[-KEPT_EPOCHS:], *([int(chosen["epoch"])] if chosen else [])}
    (folder / checkpoint.STEP_FILE).unlink(missing_ok=True)
    for epoch, path in found.items():
        if epoch not in kept:
            path.unlink(missing_ok=True)
    for partial in folder.glob(".*.partial"):  # of writers that were killed
        with contextlib.suppress(OSError):
            partial.unlink()
    sync_folder(folder)


def fitting(event: RunStarted) -> RunStarted:
    """Returns the event with as many class names as fit into 16 KiB; the store has them all."""
    room = MAX_EVENT_BYTES - 1_024
    names: list[str] = []
    for name in event.classes:
        room -= len(name.encode()) + 8
        if room < 0:
            break
        names.append(name)
    return event.model_copy(update={"classes": names})
