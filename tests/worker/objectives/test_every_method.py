"""What holds for every registered method, in the real loop."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.worker.objectives import harness
from worker.contract.events import MAX_EVENT_BYTES
from worker.contract.spec.objectives import WindowedSpec
from worker.contract.spec.registry import OBJECTIVES
from worker.engine.building import rebuilt_model
from worker.engine.learner import Place
from worker.engine.progress import EpochProgress
from worker.engine.train import Trainer
from worker.objectives.base import EpochPlan

KINDS = sorted(OBJECTIVES)
BASELINES = {"joint", "multi-head", "audio-only", "visual-only", "late-average", "fixed-blend"}
METHODS = [kind for kind in KINDS if kind not in BASELINES]
WINDOWED = [
    kind for kind in KINDS if issubclass(OBJECTIVES[kind], WindowedSpec) and not OBJECTIVES[kind].replaces_fusion
]
"""One with a fusion of its own has it in every epoch, so it is never the method that it extends."""
DRAWS_PER_SAMPLE = {"cml", "opm", "modality-dropout", "amco", "gmm-experts", "gmm-masking", "ogm-ge"}
"""Their random numbers go to places of the batch, so another order of the same clips draws otherwise."""
UNTIMED = {"seq", "time", "attempt", "seconds", "samples_per_s"}


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        assert a.event.model_dump(exclude=UNTIMED) == b.event.model_dump(exclude=UNTIMED)
        for name, tensor in a.snapshot.tensors.items():
            assert torch.equal(tensor, b.snapshot.tensors[name]), name
        for name in ("objective", "mixtures", "progress"):
            assert a.snapshot.record[name] == b.snapshot.record[name]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_in_mid_epoch_goes_on_to_the_bit(kind):
    epoch, step = 2, 3
    whole, done = harness.undisturbed(kind)
    snapshot = harness.snapshot_at(harness.parts_of(harness.objective_spec(kind)), epoch, step)
    parts = harness.parts_of(harness.objective_spec(kind))
    resumed, resumed_done = harness.finish(Trainer.from_snapshot(parts, snapshot))
    assert_same(whole[epoch - 1 :], resumed)
    assert done.result == resumed_done.result


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_at_an_epochs_end_goes_on_to_the_bit(kind):
    whole, done = harness.undisturbed(kind)
    parts = harness.parts_of(harness.objective_spec(kind))
    resumed, resumed_done = harness.finish(Trainer.from_snapshot(parts, whole[0].snapshot))
    assert_same(whole[1:], resumed)
    assert done.result == resumed_done.result


@pytest.mark.parametrize("kind", METHODS)
def test_three_steps_inside_its_window_give_other_weights_than_the_method_it_extends(kind):
    epoch = harness.ACTS_FROM.get(kind, 1)
    objective = harness.objective_spec(kind)
    base = harness.objective_spec(objective.extends)
    own, plain = (harness.snapshot_at(harness.parts_of(each), epoch, 3) for each in (objective, base))
    difference = (harness.trained_weights(own) - harness.trained_weights(plain)).abs().max()
    assert difference > 1e-6


@pytest.mark.parametrize("kind", WINDOWED)
def test_outside_its_window_it_is_the_method_that_it_extends_to_the_bit(kind):
    last = harness.NUM_EPOCHS
    window = {"first_epoch": last, **({"warm_up_epochs": 0} if kind == "arl" else {})}
    epochs, _ = harness.finish(Trainer(harness.parts_of(harness.objective_spec(kind, **window))))
    base, _ = harness.undisturbed(OBJECTIVES[kind].extends)
    own, plain = (harness.weights(run[last - 2].snapshot) for run in (epochs, base))
    for name, tensor in plain.items():
        assert torch.equal(tensor, own[name]), name


@pytest.mark.parametrize("kind", METHODS)
def test_its_epochs_say_what_it_used(kind):
    epochs, _ = harness.undisturbed(kind)
    for epoch in epochs[harness.ACTS_FROM.get(kind, 1) - 1 :]:
        numbers = [v for v in epoch.event.method.values() if isinstance(v, int | float) and not isinstance(v, bool)]
        assert numbers, "an active method reports its coefficients"
        assert np.isfinite(numbers).all()
        assert len(epoch.event.model_dump_json()) <= MAX_EVENT_BYTES


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_took_is_counted(kind):
    epochs, _ = harness.undisturbed(kind)
    for epoch in epochs:
        cost = epoch.event.cost
        assert cost.backward_passes >= cost.optimizer_steps >= 1
        assert cost.forward_passes >= 1
        assert cost.samples >= 16


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in DRAWS_PER_SAMPLE])
def test_the_order_of_a_batch_changes_nothing(kind):
    found = []
    for flip in (False, True):
        parts = harness.parts_of(harness.objective_spec(kind))
        epoch = harness.ACTS_FROM.get(kind, 1)
        trainer = Trainer(parts)
        for step in trainer.run():
            if getattr(step, "epoch", 0) == epoch and trainer.state.progress is not None:
                break
        rows = harness.store().indices("train")[:16]
        batch = next(parts.source.stream([rows], epoch=None))
        if flip:
            turned = {field.name: getattr(batch, field.name).flip(0) for field in dataclasses.fields(batch)}
            batch = dataclasses.replace(batch, **turned)
        progress = EpochProgress.begin(EpochPlan("single", rows), len(harness.store().labels), parts.device)
        parts.model.train()
        trainer.learner.learn(batch, Place(epoch, 0, 4), progress)
        found.append(harness.trained_weights(trainer.snapshot()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_rebuilt_from_its_checkpoint_scores_what_the_run_reported(kind):
    epochs, _ = harness.undisturbed(kind)
    model = rebuilt_model(epochs[-1].snapshot, torch.device("cpu"))
    rows = harness.store().indices("validation")
    batch = next(harness.parts_of(harness.objective_spec(kind)).source.stream([rows], epoch=None))
    with torch.no_grad():
        output = model(batch.audio, batch.frames)
    right = (output.fused_logits.argmax(dim=1) == batch.labels).double().mean()
    assert float(right) == pytest.approx(epochs[-1].event.validation.accuracy.fused)
    if model.fusion_splits:
        torch.testing.assert_close(sum(output.split_logits), output.fused_logits, rtol=1e-5, atol=1e-6)
