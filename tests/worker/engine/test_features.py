"""Runs on precomputed features: one table made once, checked before training, and what such runs cannot do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from worker.contract.errors import InvalidRequestError, TrainingError
from worker.contract.spec.model import Precomputed
from worker.engine.assembly import Assembly, assemble
from worker.engine.features import feature_table
from worker.engine.infer import Scorer
from worker.engine.resolve import resolve
from worker.engine.steps import EpochDone, RunDone
from worker.engine.train import Trainer


@pytest.fixture
def root(store, tmp_path: Path) -> Path:
    """Features that tell the classes apart, audio (5,) and visual (3, 4)."""
    rng = np.random.default_rng(0)
    for modality in ("audio", "visual"):
        (tmp_path / "features" / modality).mkdir(parents=True)
    for name, label in zip(store.sample_ids, store.labels, strict=True):
        audio, visual = rng.normal(size=5), rng.normal(size=(3, 4))
        audio[label] += 3
        visual[:, label] += 3
        np.save(tmp_path / "features" / "audio" / f"{name}.npy", audio.astype(np.float32))
        np.save(tmp_path / "features" / "visual" / f"{name}.npy", visual.astype(np.float32))
    return tmp_path / "features"


@pytest.fixture
def begin(bench, store, root, tmp_path):
    def made(num_hidden: int = 8, digest: str | None = None, **fields) -> Assembly:
        table = feature_table(root, store.sample_ids, tmp_path / "tables")
        spec = bench.run_spec(encoder=Precomputed(features_root=str(root), num_hidden=num_hidden), **fields)
        resolved = bench.resolved_spec(features_digest=digest or table.digest)
        return assemble(spec, resolved, store, features=table)

    return made


def test_a_table_holds_the_files_in_the_stores_order(store, root, tmp_path) -> None:
    table = feature_table(root, store.sample_ids, tmp_path / "tables")
    audio, visual = table.batch(np.array([3, 0]))
    assert np.array_equal(audio[0], np.load(root / "audio" / f"{store.sample_ids[3]}.npy"))
    np.testing.assert_allclose(visual[1], np.load(root / "visual" / f"{store.sample_ids[0]}.npy").mean(axis=0))


def test_files_are_read_once_and_again_only_when_one_changes(store, root, tmp_path) -> None:
    pulses: list[int] = []
    tables = tmp_path / "tables"
    first = feature_table(root, store.sample_ids, tables, lambda: pulses.append(1))
    seen = len(pulses)
    assert seen >= 2
    again = feature_table(root, store.sample_ids, tables, lambda: pulses.append(1))
    assert len(pulses) == seen
    assert again.digest == first.digest
    np.save(root / "audio" / f"{store.sample_ids[0]}.npy", np.ones(5))
    changed = feature_table(root, store.sample_ids, tables, lambda: pulses.append(1))
    assert len(pulses) > seen
    assert changed.digest != first.digest
    assert not list(tables.glob(".*"))


def test_a_table_that_cannot_be_made_leaves_nothing(store, root, tmp_path) -> None:
    np.save(root / "visual" / f"{store.sample_ids[7]}.npy", np.ones(9))
    with pytest.raises(TrainingError, match=f"{store.sample_ids[7]}.npy are 9, those in .* are 4") as caught:
        feature_table(root, store.sample_ids, tmp_path / "tables")
    assert caught.value.code == "features-unusable"
    assert list((tmp_path / "tables").iterdir()) == []


@pytest.mark.parametrize("num_hidden", [0, 8])
def test_a_run_on_features_learns_and_reports(begin, num_hidden) -> None:
    steps = list(Trainer(begin(num_hidden)).run())
    assert isinstance(steps[-1], RunDone)
    events = [step.event for step in steps if isinstance(step, EpochDone)]
    assert events[-1].loss_terms["fused"] < events[0].loss_terms["fused"]
    assert (events[0].gradient_share.audio == 0) is (num_hidden == 0)


def test_a_resumed_run_on_features_equals_an_undisturbed_one(begin) -> None:
    whole = [step.event for step in Trainer(begin()).run() if isinstance(step, EpochDone)]
    for step in (stopped := Trainer(begin())).run():
        if isinstance(step, EpochDone):
            break
    resumed = Trainer.from_snapshot(begin(), stopped.snapshot())
    rest = [step.event for step in resumed.run() if isinstance(step, EpochDone)]
    assert [event.loss_terms for event in rest] == [event.loss_terms for event in whole[1:]]


def test_a_run_never_goes_on_with_other_features(begin) -> None:
    with pytest.raises(TrainingError, match="launch it anew") as caught:
        begin(digest="another")
    assert caught.value.code == "features-changed"


def test_features_that_were_not_given_are_missed(bench, store, root) -> None:
    with pytest.raises(TrainingError) as caught:
        bench.assembly(store, encoder=Precomputed(features_root=str(root)))
    assert caught.value.code == "features-missing"


def test_precision_is_settled_without_measuring(bench, root) -> None:
    spec = bench.run_spec(encoder=Precomputed(features_root=str(root)), precision="auto")
    preprocess = bench.MemoryStore({"train": 1}).spec
    found = resolve(spec, dataset_id="d", store_digest="s", preprocess=preprocess, features_digest="f")
    assert (found.precision, found.features_digest) == ("fp32", "f")


def test_an_uploaded_clip_cannot_be_scored_and_the_reason_is_said(begin) -> None:
    trainer = Trainer(begin(epochs=1))
    done = [step for step in trainer.run() if isinstance(step, EpochDone)]
    with pytest.raises(InvalidRequestError, match="precomputed features") as caught:
        Scorer.of(done[0].snapshot)
    assert caught.value.code == "run-reads-features"


def test_augmentation_does_not_reach_features(begin) -> None:
    losses = []
    for augment in (True, False):
        trainer = Trainer(begin(augment=augment, epochs=1))
        losses += [step.event.loss_terms["fused"] for step in trainer.run() if isinstance(step, EpochDone)]
    assert losses[0] == losses[1]
