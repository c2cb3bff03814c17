import math

import pytest
import torch

from tests.worker.objectives.stepping import step_on, tiny_model
from worker.objectives.cml import Cml, confidence_rises


def only_pass(strength=0.1, seed=0, **fields):
    objective = Cml(first_epoch=1, last_epoch=None, strength=strength)
    step = step_on(tiny_model(objective), seed=seed, size=64, **fields)
    (each,) = objective.passes(step)
    return each, step


def test_rises_by_hand_each_for_its_own_sample():
    sure, even = [math.log(3.0), 0.0], [0.0, 0.0]
    whole = torch.tensor([even, sure, sure, even])
    reduced = torch.tensor([sure, even, [0.0, math.log(9.0)], sure])
    # The third: right with both, wrong and surer without one; the code leaves it out.
    labels = torch.tensor([0, 0, 0, 1])
    torch.testing.assert_close(confidence_rises(whole, reduced, labels), torch.tensor([0.25, 0.0, 0.0, 0.25]))


def test_a_rise_lowers_the_reduced_and_raises_the_whole_confidence():
    whole, reduced = torch.tensor([[0.5, 0.0]], requires_grad=True), torch.tensor([[1.0, 0.0]], requires_grad=True)
    confidence_rises(whole, reduced, torch.tensor([0])).sum().backward()
    assert reduced.grad[0, 0] > 0  # a step goes against it
    assert whole.grad[0, 0] < 0


def test_the_loss_is_joint_training_and_the_summed_rises():
    each, step = only_pass(strength=0.3, audio=3.0, visual=-1.0)
    assert each.terms["calibration"] > 0
    torch.testing.assert_close(
        each.loss, step.cross_entropy(step.output.fused_logits) + 0.3 * each.terms["calibration"]
    )
    gradient = torch.autograd.grad(each.terms["calibration"], list(step.output.features.values()))
    assert all(part.abs().sum() > 0 for part in gradient)


@pytest.mark.parametrize(
    ("strengths", "harmful", "useful"), [((4, -1), "visual", "audio"), ((-1, 4), "audio", "visual")]
)
def test_confidence_rises_when_the_modality_goes_that_a_planted_advantage_speaks_against(strengths, harmful, useful):
    each, _ = only_pass(audio=strengths[0], visual=strengths[1])
    assert each.coefficients[f"{harmful}_removal_rises"] > 0.9
    assert each.coefficients[f"{useful}_removal_rises"] < 0.1


def test_the_modality_that_goes_is_drawn_from_the_methods_stream():
    first, again, other = (only_pass(seed=seed, audio=2.0)[0].loss for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_both_modalities_are_removed_about_equally_often():
    calls = []
    objective = Cml(first_epoch=1, last_epoch=None, strength=0.1)
    model = tiny_model(objective)
    classify = lambda features: calls.append(features) or model.classify(features)  # noqa: E731
    list(objective.passes(step_on(model, size=400, classify=classify)))
    gone = {name: (values == 0).all(dim=1) for name, values in calls[0].items()}
    assert (gone["audio"] ^ gone["visual"]).all()
    assert float(gone["audio"].float().mean()) == pytest.approx(0.5, abs=0.1)
