"""A run on a saved subset, and a run that starts from another one's weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.worker.memory_store import MemoryStore, resolved_spec, run_spec
from tests.worker.objectives.harness import finish, snapshot_at
from worker.contract.errors import TrainingError
from worker.contract.spec import AudioOnly, Joint, MultiHead, RunSpec
from worker.contract.spec.model import Sum
from worker.engine.assembly import Assembly, assemble
from worker.engine.starting import start_of
from worker.engine.steps import Snapshot
from worker.engine.subset import SubsetStore
from worker.engine.train import Trainer

RUN = "run-earlier-1"


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return MemoryStore({"train": 65, "validation": 24, "test": 20})


def subset_of(store: MemoryStore, rows: np.ndarray) -> SubsetStore:
    return SubsetStore(store, [store.sample_ids[row] for row in rows], name="mine", batch_size=16)


@pytest.fixture(scope="module")
def earlier(store: MemoryStore) -> Snapshot:
    """The last snapshot of a finished run that chose an earlier epoch."""
    for seed in range(20):
        parts = assemble(run_spec(objective=MultiHead(), epochs=3, seed=seed), resolved_spec(), store)
        snapshot = finish(Trainer(parts))[0][-1].snapshot
        if snapshot.record["chosen"]["epoch"] != 3:  # type: ignore[index]
            return snapshot
    raise AssertionError("no seed chose an earlier epoch")


def starting(spec: RunSpec, store: MemoryStore | SubsetStore, start: Snapshot | None, **more: bool) -> Assembly:
    return assemble(spec, resolved_spec(), store, start=start, **more)


def test_a_run_on_a_subset_trains_and_reports_on_it_alone(store: MemoryStore) -> None:
    rows = store.indices("train")[5:45]
    data = subset_of(store, rows)
    parts = assemble(run_spec(objective=MultiHead(), epochs=2), resolved_spec(), data)
    epochs, done = finish(Trainer(parts))
    for epoch in epochs:
        assert epoch.event.cost is not None
        assert epoch.event.cost.samples == epoch.event.train.num_samples == len(rows)
        assert epoch.event.validation.num_samples == 24
        assert set(epoch.rows) == {*rows, *store.indices("validation")}
    assert done.result.last.test is not None
    assert done.result.last.test.num_samples == 20


def test_a_run_on_a_subset_resumes_to_the_bit(store: MemoryStore) -> None:
    data = subset_of(store, store.indices("train")[5:45])
    spec = run_spec(objective=MultiHead(), epochs=2)
    whole, _ = finish(Trainer(assemble(spec, resolved_spec(), data)))
    snapshot = snapshot_at(assemble(spec, resolved_spec(), data), 2, 1)
    resumed, _ = finish(Trainer.from_snapshot(assemble(spec, resolved_spec(), data), snapshot))
    for name, tensor in whole[-1].snapshot.tensors.items():
        assert torch.equal(tensor, resumed[-1].snapshot.tensors[name]), name


@pytest.mark.parametrize("split", ["validation", "test"])
def test_samples_of_another_split_do_not_fit(store: MemoryStore, split: str) -> None:
    with pytest.raises(TrainingError, match="no training samples") as refusal:
        subset_of(store, np.append(store.indices("train"), store.indices(split)[0]))
    assert refusal.value.code == "subset-unfit"


def test_a_subset_that_lacks_a_class_or_two_batches_is_refused(store: MemoryStore) -> None:
    train = store.indices("train")
    labels = np.asarray(store.labels)[train]
    with pytest.raises(TrainingError) as refusal:
        subset_of(store, train[labels != 2])
    assert refusal.value.code == "subset-class-vanishes"
    with pytest.raises(TrainingError) as refusal:
        subset_of(store, train[:17])
    assert refusal.value.code == "subset-too-few"


@pytest.mark.parametrize("which", ["last", "chosen"])
def test_a_run_starts_with_the_weights_of_the_other(store: MemoryStore, earlier: Snapshot, which: str) -> None:
    start = start_of(earlier, RUN, which)  # type: ignore[arg-type]
    parts = starting(run_spec(objective=Joint(), start_from=RUN), store, start)
    prefix = "model." if which == "last" else "chosen."
    assert start.epoch == (3 if which == "last" else earlier.record["chosen"]["epoch"])  # type: ignore[index]
    for name, value in parts.model.state_dict().items():
        assert torch.equal(value, earlier.tensors[prefix + name]), name


def test_a_run_that_resumes_goes_on_from_its_own_weights(store: MemoryStore, earlier: Snapshot) -> None:
    start = start_of(earlier, RUN, "last")
    spec = run_spec(objective=Joint(), epochs=2, start_from=RUN)
    whole, _ = finish(Trainer(starting(spec, store, start)))
    resumed, _ = finish(
        Trainer.from_snapshot(
            starting(spec, store, start, begins=False), snapshot_at(starting(spec, store, start), 2, 1)
        )
    )
    for name, tensor in whole[-1].snapshot.tensors.items():
        assert torch.equal(tensor, resumed[-1].snapshot.tensors[name]), name


def test_what_does_not_fit_is_refused_with_what_differs(store: MemoryStore, earlier: Snapshot) -> None:
    start = start_of(earlier, RUN, "last")
    with pytest.raises(TrainingError, match="another fusion"):
        starting(run_spec(start_from=RUN, fusion=Sum()), store, start)
    with pytest.raises(TrainingError, match="do not fit the model of the method 'audio-only'"):
        starting(run_spec(start_from=RUN, objective=AudioOnly()), store, start)
    with pytest.raises(TrainingError, match="were not given"):
        starting(run_spec(start_from=RUN), store, None)


def test_chosen_weights_that_were_not_kept_are_refused(earlier: Snapshot) -> None:
    kept = {name: value for name, value in earlier.tensors.items() if not name.startswith("chosen.")}
    with pytest.raises(TrainingError, match="not kept"):
        start_of(Snapshot(earlier.epoch, 0, kept, earlier.record), RUN, "chosen")
