import math

import pytest
import torch

from tests.worker.objectives.stepping import set_up, step_on, tiny_model
from worker.objectives.lfm import Lfm, alignment_weight, prediction_gap


def only_pass(epoch=1, **fields):
    objective = Lfm(first_alignment=0.8, last_alignment=0.05)
    model = tiny_model(objective)
    set_up(objective, model, epochs=10)
    (each,) = objective.passes(step := step_on(model, epoch=epoch, **fields))
    return each, step


def test_the_schedule_is_linear_and_one_epoch_has_its_first_weight():
    assert [alignment_weight(epoch, 3, 0.8, 0.2) for epoch in (1, 2, 3)] == pytest.approx([0.8, 0.5, 0.2])
    assert alignment_weight(1, 1, 0.8, 0.2) == 0.8


def test_the_gap_of_two_predictions_by_hand():
    audio, visual = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    middle = (0.625, 0.375)
    divergences = [sum(m * math.log(m / p) for m, p in zip(middle, q, strict=True)) for q in ((0.75, 0.25), (0.5, 0.5))]
    assert float(prediction_gap(audio, visual)) == pytest.approx(sum(divergences) / 2)
    assert float(prediction_gap(visual, audio)) == pytest.approx(sum(divergences) / 2)
    assert float(prediction_gap(audio, audio)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(("epoch", "weight"), [(1, 0.8), (10, 0.05)])
def test_the_loss_mixes_both_terms_by_the_epochs_weight(epoch, weight):
    each, _ = only_pass(epoch, audio=2.0)
    expected = 2 * ((1 - weight) * each.terms["fused"] + weight * each.terms["alignment"])
    torch.testing.assert_close(each.loss, expected)
    assert float(each.coefficients["alignment_weight"]) == pytest.approx(weight)


def test_both_terms_reach_both_modalities():
    each, step = only_pass(audio=2.0)
    for term in each.terms.values():
        found = torch.autograd.grad(term, list(step.output.features.values()), retain_graph=True)
        assert all(part.abs().sum() > 0 for part in found)


@pytest.mark.parametrize("strengths", [(4, 0), (0, 4)])
def test_a_planted_advantage_opens_the_gap_between_the_predictions(strengths):
    apart, _ = only_pass(audio=strengths[0], visual=strengths[1])
    even, _ = only_pass(audio=2.0, visual=2.0)
    assert apart.coefficients["prediction_gap"] > 10 * even.coefficients["prediction_gap"]


def test_swapping_the_modalities_changes_nothing():
    first, _ = only_pass(audio=3.0, visual=0.5)
    second, _ = only_pass(audio=0.5, visual=3.0, swap_noise=True)
    torch.testing.assert_close(first.loss, second.loss)
