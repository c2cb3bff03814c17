"""Ledger records and folders as the resources that the API shows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from backend.archive import read_json
from backend.beats import BeatWatch
from backend.disk import allocated_bytes
from backend.origins import origins
from backend.stores import Stores
from backend.uses import DatasetUses
from worker.contract.errors import CorruptRecordError
from worker.contract.layout import DatasetFolder, Home, RunFolder
from worker.contract.record import JobRecord, LedgerState, read_spec
from worker.contract.resources import (
    Dataset,
    DatasetState,
    DatasetUpload,
    PrepareProgress,
    ResolvedSpec,
    Run,
    RunProgress,
)
from worker.contract.sample_tables import kept_every
from worker.contract.scores import JobState
from worker.contract.spec import RunSpec

log = logging.getLogger(__name__)
T = TypeVar("T")
_RESOLVED = TypeAdapter(ResolvedSpec)
CACHED_SPECS = 512
_DATASET_STATES: dict[LedgerState, DatasetState] = {
    "queued": "queued",
    "running": "preparing",
    "cancelling": "preparing",
    "finished": "ready",
    "failed": "failed",
    "cancelled": "cancelled",
}


@lru_cache(maxsize=CACHED_SPECS)
def _run_spec(path: Path, stamp: int) -> RunSpec:
    record = read_spec(path)
    if record is None:
        raise CorruptRecordError(f"{path} is gone, though the ledger has the run. Restore it, or delete the run.")
    try:
        return RunSpec.model_validate(record.spec)
    except ValidationError as error:
        raise CorruptRecordError(
            f"{path} holds a spec that this version cannot read: {error.errors()[0]['msg']}."
        ) from None


def run_spec(home: Home, run_id: str) -> RunSpec:
    """Returns what was asked of a run.

    Raises:
        CorruptRecordError: when its spec.json is gone or damaged.
    """
    return _spec_in(home.run(run_id))


def _spec_in(folder: RunFolder) -> RunSpec:
    path = folder.spec
    try:
        stamp = path.stat().st_mtime_ns
    except FileNotFoundError:
        stamp = 0
    return _run_spec(path, stamp)


@lru_cache(maxsize=CACHED_SPECS)
def _resolved(path: Path, stamp: int) -> ResolvedSpec:
    return _RESOLVED.validate_python(read_json(path))


def resolved_spec(home: Home, run_id: str) -> ResolvedSpec | None:
    """Returns what a run really uses, or None before its first claim."""
    return _resolved_in(home.run(run_id))


def _resolved_in(folder: RunFolder) -> ResolvedSpec | None:
    path = folder.resolved_spec
    try:
        return _resolved(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise CorruptRecordError(f"{path} cannot be read: {error.errors()[0]['msg']}.") from None


_TOLD: set[str] = set()
"""Damages that the log has named: one line each in the life of this process."""


def readable(records: Iterable[JobRecord], show: Callable[[JobRecord], T]) -> list[T]:
    """Returns what `show` makes of each record: one whose folder cannot be read must not hide the others."""
    shown = []
    for record in records:
        try:
            shown.append(show(record))
        except (CorruptRecordError, OSError) as error:
            if str(error) not in _TOLD:  # once, not at each look at a list
                _TOLD.add(str(error))
                log.warning("%s %s is left out of a list: %s", record.kind, record.id, error)
    return shown


def shown_state(record: JobRecord, watch: BeatWatch) -> JobState:
    """Returns a job's state, `lost` where it runs but its beat stands still."""
    return "lost" if watch.is_lost(record) else record.state


def shown_run(home: Home, record: JobRecord, watch: BeatWatch, positions: Mapping[str, int]) -> Run:
    """Returns a run as the API shows it.

    Args:
        home: where its folder lies.
        record: what the ledger says.
        watch: knows whether its beat stands still.
        positions: places in the queue.
    """
    folder = home.run(record.id)
    spec, resolved = _spec_in(folder), _resolved_in(folder)
    return Run(
        id=record.id,
        name=record.facts.name or record.id,
        tags=list(record.facts.tags),
        notes=record.facts.notes,
        state=shown_state(record, watch),
        waiting_for=record.waiting_for,
        attempt=record.attempt,
        spec=spec,
        resolved_spec=resolved,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        queue_position=positions.get(record.id),
        progress=run_progress(home, record),
        derived_from=origins(spec, folder, resolved.start_epoch if resolved else None),
        samples_kept_every=kept_every(folder),
        summary=record.run_summary(),
        result=record.run_result(),
        error=record.error,
    )


def run_progress(home: Home, record: JobRecord) -> RunProgress:
    """Returns how far a run is.

    Args:
        home: where its folder lies.
        record: what the ledger says.
    """
    progress = record.run_progress() or RunProgress(epochs=run_spec(home, record.id).epochs)
    changes: dict[str, object] = {"epoch": max(progress.epoch, record.epoch)}
    if record.state != "running":
        changes |= {"phase": "waiting", "eta_s": None, "samples_per_s": None}
    if record.state == "finished":
        changes["fraction"] = 1.0
    return progress.model_copy(update=changes)


@lru_cache(maxsize=CACHED_SPECS)
def _upload(path: Path, stamp: int) -> DatasetUpload:
    return DatasetUpload.model_validate(read_json(path))


def uploaded(folder: DatasetFolder) -> DatasetUpload | None:
    """Returns what was uploaded as a dataset's clips, or None where they were not."""
    try:
        return _upload(folder.upload, folder.upload.stat().st_mtime_ns)
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise CorruptRecordError(f"{folder.upload} cannot be read: {error.errors()[0]['msg']}.") from None


def shown_dataset(home: Home, stores: Stores, record: JobRecord, uses: DatasetUses) -> Dataset:
    """Returns a dataset as the API shows it.

    Args:
        home: where its folder lies.
        stores: reads its prepared store.
        record: what the ledger says.
        uses: the runs on datasets.
    """
    folder = home.dataset(record.id)
    asked = read_spec(folder.spec)
    facts = stores.facts(record.id) if record.state == "finished" else None
    progress = record.prepare_progress() or PrepareProgress()
    if facts is not None:
        progress = progress.model_copy(update={"fraction": 1.0, "eta_s": None, "clips_per_s": None})
    return Dataset(
        id=record.id,
        kind=record.facts.dataset_kind,
        state=_DATASET_STATES[record.state],
        spec=asked.spec if asked else {},
        created_at=record.created_at,
        progress=progress,
        num_samples=facts.num_samples if facts else None,
        num_classes=len(facts.classes) if facts else None,
        classes=list(facts.classes) if facts else None,
        splits=facts.splits if facts else {},
        class_counts=facts.class_counts if facts else {},
        num_skipped=facts.num_skipped if facts else None,
        skipped=list(facts.skipped) if facts else [],
        warnings=list(facts.warnings) if facts else [],
        store_bytes=allocated_bytes(folder.store) if facts else None,
        shared=facts is not None and stores.is_shared(record.id),
        changed=facts is not None and stores.have_changed(record.id),
        upload=uploaded(folder),
        num_runs=uses.num_runs(record.id),
        active_runs=uses.active(record.id),
        error=record.error,
    )
