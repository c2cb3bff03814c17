"""What becomes of the loop's steps: files first, then the archive of events, then Redis.

The order of an epoch: samples, checkpoint (whose rename is the commit, and which contains the event), the line in
events.jsonl, the stream. After a crash between any two, the next start writes what is missing.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

from worker.contract.event_size import LEFT_OUT
from worker.contract.events import EpochFinished, Event, RunFinished
from worker.contract.journal import Journal, epoch_fields
from worker.contract.layout import RunFolder, drop_half_written, sync_folder
from worker.contract.settings import GIB
from worker.engine import checkpoint
from worker.engine.steps import EpochDone, RunDone, Snapshot
from worker.runtime.tables import SampleFiles
from worker.runtime.thinning import thin_tables

log = logging.getLogger(__name__)
KEPT_EPOCHS = 2
"""Newest checkpoints that are kept; the chosen epoch's is kept as well."""


class RunSink:
    """Writes one run's results."""

    def __init__(
        self, folder: RunFolder, journal: Journal, tables: SampleFiles, *, max_samples_bytes: int = 2 * GIB
    ) -> None:
        self._folder = folder
        self._max_samples_bytes = max_samples_bytes
        self._journal = journal
        self._tables = tables

    def epoch_done(self, done: EpochDone) -> None:
        """Commits an epoch. One whose event is written already is not told twice.

        Raises:
            LostLeaseError: when another holder has the run.
            TrainingError: code `event-too-large`; nothing of the epoch is written then.
        """
        epoch = done.event.epoch
        shorter = self._journal.fitting(done.event)  # before the checkpoint: an epoch that is committed must be told
        if isinstance(shorter, EpochFinished) and LEFT_OUT in shorter.method:
            left_out = shorter.method[LEFT_OUT]
            log.warning("epoch %d: %.0f values of the method do not fit into its event", epoch, left_out)
        self._tables.write_epoch(epoch, done.rows, done.columns, done.gaps, done.posteriors)
        checkpoint.save(done.snapshot, self._folder.checkpoints)
        told = self._journal.last_epoch
        if told is None or epoch > told.epoch:
            self._journal.append(done.event, epoch_fields(done.event))
        retain(self._folder.checkpoints, done.snapshot)
        chosen = chosen_epoch(done.snapshot)
        thin_tables(self._folder, newest=epoch, chosen=chosen, max_bytes=self._max_samples_bytes)

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


def chosen_epoch(snapshot: Snapshot) -> int | None:
    """Returns the best epoch so far, None before one is chosen."""
    chosen = cast(dict[str, Any] | None, snapshot.record.get("chosen"))
    return int(chosen["epoch"]) if chosen else None


def retain(folder: Path, snapshot: Snapshot) -> None:
    """Deletes the checkpoints that nobody needs once an epoch is committed."""
    found = checkpoint.epoch_checkpoints(folder)
    kept = {*sorted(found)[-KEPT_EPOCHS:], chosen_epoch(snapshot)}
    (folder / checkpoint.STEP_FILE).unlink(missing_ok=True)
    for epoch, path in found.items():
        if epoch not in kept:
            path.unlink(missing_ok=True)
    sync_folder(folder)


def drop_partials(folder: RunFolder) -> None:
    """Deletes what training processes that were killed left half-written.

    Args:
        folder: of a run whose lock the caller holds; labels and requests to cancel are the backend's to write.
    """
    for place in (folder.checkpoints, folder.samples, folder.start):
        drop_half_written(place)
    for file in (folder.resolved_spec, folder.outcome):
        drop_half_written(file.parent, file.name)
