"""A corpus from its files to the numbers of a run, under both protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.worker.datasets.corpus_trees import crema_d
from worker.contract.spec import PreprocessSpec
from worker.contract.spec.corpora import CremaD
from worker.datasets.prepare import prepare
from worker.datasets.store import PreparedStore
from worker.engine.assembly import assemble
from worker.engine.steps import EpochDone, RunDone
from worker.engine.train import Trainer

SMALL = PreprocessSpec(duration_s=0.8, sample_rate_hz=8_000, num_mels=16, num_frames=2, frame_size=24, crop_size=16)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return crema_d(tmp_path_factory.mktemp("crema-d"))


@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_trains_on_a_corpus(bench: Any, tree: Path, tmp_path: Path, protocol: str) -> None:
    dataset = CremaD(path=str(tree), protocol=protocol, preprocess=SMALL)
    record = prepare(dataset, tmp_path, num_processes=1).record
    store = PreparedStore.open(tmp_path / "store")
    spec = bench.run_spec(dataset=dataset, epochs=2)
    resolved = bench.resolved_spec(dataset_id=dataset.dataset_id(), store_digest=store.digest)
    steps = list(Trainer(assemble(spec, resolved, store)).run())
    events = [step.event for step in steps if isinstance(step, EpochDone)]
    assert [event.epoch for event in events] == [1, 2]
    assert all((event.test is not None) == (protocol == "paper") for event in events)
    result = next(step.result for step in steps if isinstance(step, RunDone))
    assert result.last.test is not None
    assert result.last.test.num_samples == record.splits["test"]
    assert result.chosen.by == ("validation" if protocol == "honest" else "test (optimistic)")
    assert events[-1].train.num_samples == record.splits["train"]
    assert sum(events[-1].validation.histogram.counts) == record.splits["validation"]
