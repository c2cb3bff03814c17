"""What a run builds on, read from folders: earlier runs, the weights that it starts from, its subset."""

from __future__ import annotations

from worker.contract.errors import CorruptRecordError, TrainingError
from worker.contract.events import EpochFinished
from worker.contract.journal import read_events
from worker.contract.layout import Home, RunFolder
from worker.contract.spec import RunSpec
from worker.contract.subset_files import read_sample_ids, read_subset
from worker.engine import checkpoint
from worker.engine.batches import Store
from worker.engine.sources import EarlierRun
from worker.engine.starting import start_of
from worker.engine.steps import Snapshot
from worker.engine.subset import SubsetStore

MAX_EVENTS = 1_000_000
"""Events that are read of an earlier run: all."""


def earlier_runs(spec: RunSpec, home: Home) -> dict[str, EarlierRun]:
    """Returns the earlier runs by the objective's field that names each.

    Args:
        spec: the run's.
        home: where run folders lie.

    Raises:
        TrainingError: one has no finished epoch here (deleted, of another home, not trained yet).
        CorruptRecordError: its checkpoint cannot be used.
    """
    found = {}
    for name, run_id in spec.objective.source_runs().items():
        folder = home.run(run_id)
        snapshot = checkpoint.newest(folder.checkpoints)
        if snapshot is None or snapshot.step:
            raise TrainingError(
                f"The earlier run {run_id} ({name}) has no finished epoch here; perhaps it was deleted. Bring it back, "
                "or launch this run anew with another one.",
                code="source-run-missing",
            )
        epochs = [event for event in read_events(folder.events, limit=MAX_EVENTS) if isinstance(event, EpochFinished)]
        found[name] = EarlierRun(run_id, snapshot, epochs)
    return found


def start_weights(spec: RunSpec, home: Home, folder: RunFolder) -> Snapshot | None:
    """Returns the weights that a run starts from; None where its spec names no run.

    They are copied into the run's folder first, so that it stays what it is whatever becomes of the other run.

    Args:
        spec: the run's.
        home: where run folders lie.
        folder: of the run.

    Raises:
        TrainingError: the other run has no finished epoch here, or has not kept these weights.
        CorruptRecordError: its checkpoint, or the copy, cannot be used.
    """
    if spec.start_from is None:
        return None
    copied = checkpoint.newest(folder.start)
    if copied is not None:
        return copied
    snapshot = checkpoint.newest(home.run(spec.start_from).checkpoints)
    if snapshot is None or snapshot.step:
        raise TrainingError(
            f"The run {spec.start_from}, which this one starts from, has no finished epoch here: name another run.",
            code="start-run-missing",
        )
    start = start_of(snapshot, spec.start_from, spec.start_weights)
    checkpoint.save(start, folder.start)
    return start


def training_data(spec: RunSpec, folder: RunFolder, store: Store) -> tuple[Store, str | None]:
    """Returns what a run trains on: the store, or its subset by the run's own copy, with the digest of that.

    Args:
        spec: the run's.
        folder: of the run.
        store: the prepared data.

    Raises:
        CorruptRecordError: the copy is missing or damaged.
        TrainingError: the subset does not fit the store, or cannot be trained on.
    """
    if spec.subset is None:
        return store, None
    subset = read_subset(folder.subset)
    if subset is None:
        raise CorruptRecordError(f"{folder.subset.path}, the run's copy of its subset, is gone: launch the run anew.")
    ids = read_sample_ids(folder.subset, subset)
    return SubsetStore(store, ids, name=subset.name, batch_size=spec.batch_size), subset.digest
