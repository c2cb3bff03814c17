"""From a run's folder to its trainer, in every process of the run alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker.contract.errors import CorruptRecordError, DatasetError
from worker.contract.layout import Home, RunFolder
from worker.contract.resources import ResolvedSpec
from worker.contract.spec import RunSpec
from worker.contract.spec.model import Precomputed
from worker.datasets.store import PreparedStore
from worker.engine.assembly import assemble
from worker.engine.batches import Store
from worker.engine.features import FeatureTable, feature_table
from worker.engine.steps import Snapshot
from worker.engine.train import Trainer
from worker.engine.world import World
from worker.runtime.sources import earlier_runs, start_weights, training_data
from worker.runtime.specs import dataset_id_of


@dataclass(frozen=True, eq=False)
class RunInputs:
    """What a run reads.

    Attributes:
        store: of its dataset.
        data: what it trains on: the store, or a subset of it.
        subset_digest: of that subset.
        features: precomputed ones, where it reads such.
        start: weights of another run, where it starts from such.
    """

    store: PreparedStore
    data: Store
    subset_digest: str | None
    features: FeatureTable | None
    start: Snapshot | None


def read_inputs(home: Home, folder: RunFolder, spec: RunSpec, alive: Callable[[], None]) -> RunInputs:
    """Returns what a run reads.

    Args:
        home: where all lies.
        folder: of the run.
        spec: the run's.
        alive: called now and then.
    """
    store = open_store(home, dataset_id_of(spec))
    features = None
    if isinstance(spec.encoder, Precomputed):  # their table lies beside the store
        tables = home.dataset(dataset_id_of(spec)).features
        features = feature_table(Path(spec.encoder.features_root), store.sample_ids, tables, alive=alive)
    data, subset_digest = training_data(spec, folder, store)
    return RunInputs(store, data, subset_digest, features, start_weights(spec, home, folder))


def open_store(home: Home, dataset_id: str) -> PreparedStore:
    """Returns the prepared store of a dataset.

    Raises:
        DatasetError: when the dataset is not prepared.
        CorruptRecordError: when a file of the store is missing or cut off.
    """
    path = home.dataset(dataset_id).store
    if not path.is_dir():
        raise DatasetError(f"The dataset {dataset_id} is not prepared; prepare it, then resume the run.")
    return PreparedStore.open(path)


def read_resolved(folder: RunFolder) -> ResolvedSpec | None:
    """Returns the resolved spec of the first claim; None where there was none yet.

    Raises:
        CorruptRecordError: it cannot be read.
    """
    path = folder.resolved_spec
    if not path.exists():
        return None
    try:
        return ResolvedSpec.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise CorruptRecordError(f"{path} cannot be read: {error}.") from error


def make_trainer(
    home: Home,
    spec: RunSpec,
    resolved: ResolvedSpec,
    inputs: RunInputs,
    *,
    snapshot: Snapshot | None,
    world: World,
    alive: Callable[[], None],
) -> Trainer:
    """Returns the trainer of a run, at its first step or where a snapshot was taken.

    Args:
        home: where earlier runs lie.
        spec: the run's.
        resolved: the run's.
        inputs: that it reads.
        snapshot: to go on from; None begins.
        world: the processes of the run.
        alive: called now and then.
    """
    parts = assemble(
        spec,
        resolved,
        inputs.data,
        earlier_runs(spec, home),
        features=inputs.features,
        begins=snapshot is None,
        world=world,
        start=inputs.start,
    )
    alive()
    return Trainer(parts, alive) if snapshot is None else Trainer.from_snapshot(parts, snapshot, alive)
