import numpy as np
import pytest
import torch

from tests.worker.objectives.stepping import step_on, tiny_model
from worker.objectives.base import EpochView
from worker.objectives.fixed_blend import FixedBlend


def blend(fused=1.0, audio=1.0, visual=1.0):
    return FixedBlend(fused_weight=fused, audio_weight=audio, visual_weight=visual)


def test_the_loss_is_the_weighted_sum_by_hand():
    step = step_on(tiny_model(blend()), audio=2.0)
    (each,) = blend(0.5, 2.0, 0.25).passes(step)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (
        0.5 * cross_entropy(step.output.fused_logits, step.labels)
        + 2.0 * cross_entropy(step.output.audio_logits, step.labels)
        + 0.25 * cross_entropy(step.output.visual_logits, step.labels)
    )
    torch.testing.assert_close(each.loss, expected)


def test_the_weights_are_in_the_plan():
    plan = blend(0.5, 2.0, 0.25).plan_epoch(EpochView(1, np.arange(4), None, None))
    assert plan.method == {"fused_weight": 0.5, "audio_weight": 2.0, "visual_weight": 0.25}


@pytest.mark.parametrize(("weights", "silent"), [((0, 0, 1), "audio"), ((0, 1, 0), "visual")])
def test_a_weight_of_zero_gives_no_gradient(weights, silent):
    step = step_on(tiny_model(blend()))
    (each,) = blend(*weights).passes(step)
    names = ("audio", "visual")
    found = dict(zip(names, torch.autograd.grad(each.loss, [step.output.features[n] for n in names]), strict=True))
    other = {"audio": "visual", "visual": "audio"}[silent]
    assert found[silent].abs().sum() == 0
    assert found[other].abs().sum() > 0
