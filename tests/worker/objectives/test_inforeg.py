"""InfoReg."""

import math

import numpy as np
import pytest
import torch

from tests.worker.objectives.linear_batch import Batch
from worker.objectives.base import EpochView
from worker.objectives.inforeg import InfoReg, growth, pull_strength
from worker.objectives.multi_head import MultiHead

FIELDS = {
    "audio_strength": 0.5,
    "visual_strength": 0.5,
    "threshold": 0.05,
    "window_epochs": 2,
    "first_epoch": 1,
    "last_epoch": 8,
}


def begin(batch, epoch=1):
    return batch.objective.plan_epoch(EpochView(epoch, np.arange(4), None, None))


def moved(batch, by=0.1):
    """The encoders' weights, some way from those of the epoch's start."""
    with torch.no_grad():
        batch.model.encoders.audio.weight.add_(by)
        batch.model.encoders.visual.weight.add_(by)
    return batch


def test_growth_by_hand():
    assert growth([], 2) == 1
    assert growth([3.0], 2) == 1
    assert growth([3.0, 1.0], 2) == pytest.approx(1 / 4)
    assert growth([3.0, 1.0, 2.0], 2) == pytest.approx((3 - 4) / 3)
    assert growth([0.0, 0.0], 2) == 0


def test_the_pull_by_hand():
    assert float(pull_strength(torch.tensor(0.5), 0.2)) == pytest.approx(0.2 * math.exp(math.tanh(0.5)))
    assert float(pull_strength(torch.tensor(-0.5), 0.2)) == 0
    assert float(pull_strength(torch.tensor(0.0), 0.2)) == 0


@pytest.mark.parametrize(("leader", "other"), [("audio", "visual"), ("visual", "audio")])
def test_a_planted_advantage_pulls_that_encoder_back_by_the_published_coefficient(leader, other):
    batch, plain = Batch(InfoReg(**FIELDS), leader), Batch(MultiHead(), leader)
    begin(batch)
    found, expected = moved(batch).gradients(), moved(plain).gradients()
    beta = batch.coefficients[f"{leader}_beta"]
    assert 0.5 < beta <= 0.5 * math.e + 1e-6
    assert batch.coefficients[f"{other}_beta"] == 0
    torch.testing.assert_close(getattr(found, leader), getattr(expected, leader) + beta * 0.1)
    torch.testing.assert_close(getattr(found, other), getattr(expected, other), rtol=0, atol=0)


def test_swapping_the_modalities_and_their_strengths_swaps_the_coefficients():
    found = []
    for leader, fields in (("audio", {"audio_strength": 0.9}), ("visual", {"visual_strength": 0.9})):
        batch = Batch(InfoReg(**{**FIELDS, **fields}), leader)
        begin(batch)
        moved(batch).gradients()
        found.append(batch.coefficients[f"{leader}_beta"])
    assert found[0] == pytest.approx(found[1])


def test_an_encoder_that_takes_in_no_more_is_left_alone_and_each_has_its_own_growth():
    batch = Batch(InfoReg(**FIELDS), "visual")
    for epoch in (1, 2, 3):
        begin(batch, epoch)
        batch.inputs["visual"] = batch.inputs["visual"] * 0.3
        batch.gradients(epoch)
    plan = begin(batch, 4)
    assert plan.method["visual_trace_growth"] != plan.method["audio_trace_growth"]
    state = batch.objective.state()
    state["visual_growth"], state["audio_growth"] = -0.2, 1.0
    batch.objective.restore(state)
    batch.inputs["visual"] = batch.inputs["visual"] * 100
    moved(batch).gradients(4)
    assert batch.coefficients == {"audio_beta": 0, "visual_beta": 0}


def test_the_trace_is_of_the_weights_squared_gradients():
    batch = Batch(InfoReg(**FIELDS))
    begin(batch)
    expected = 0.0
    for seed in (0, 1):
        expected += float(batch.gradients(seed=seed).audio.square().mean())
    begin(batch, 2)
    assert batch.objective.state()["audio_traces"].tolist() == pytest.approx([expected])


def test_its_state_brings_back_the_same_gradients():
    batch = Batch(InfoReg(**FIELDS))
    begin(batch)
    moved(batch).gradients()
    other = moved(Batch(InfoReg(**FIELDS)), 0.2)
    other.objective.restore(batch.objective.state())
    assert torch.equal(other.gradients().audio, moved(batch).gradients().audio)


def test_outside_its_window_it_is_multi_head_training_and_keeps_no_weights():
    batch, plain = Batch(InfoReg(**FIELDS)), Batch(MultiHead())
    begin(batch, 9)
    assert torch.equal(batch.gradients(epoch=9).audio, plain.gradients().audio)
    assert not any("start" in name for name in batch.objective.state())
