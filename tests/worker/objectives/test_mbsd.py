import math

import pytest
import torch

from tests.worker.objectives.stepping import step_on, tiny_model
from worker.objectives.mbsd import Mbsd, imitation
from worker.objectives.multi_head import multi_head_pass


def only_pass(**fields):
    objective = Mbsd(first_epoch=1, last_epoch=None, strength=1.0)
    step = step_on(tiny_model(objective), **fields)
    (each,) = objective.passes(step)
    return each, step


def test_one_sample_by_hand():
    audio, visual = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    found = imitation(audio, visual, torch.tensor([0]))
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(found.weights) == pytest.approx(0.25)
    assert float(found.divergence) == pytest.approx(0.25 * divergence)
    assert float(found.distance) == pytest.approx(0.25 * math.log(3.0) ** 2 / 2)


def test_samples_that_both_get_wrong_teach_nothing():
    audio, visual = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 2.0]])
    assert float(imitation(audio, visual, torch.tensor([0])).weights) == 0


def test_the_stronger_modality_gets_no_gradient_the_weaker_gets_some_from_both_terms():
    audio = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    visual = torch.tensor([[1.0, 0.0], [3.0, 0.0]], requires_grad=True)
    found = imitation(audio, visual, torch.tensor([0, 0]))
    for term in (found.distance, found.divergence):
        for_audio, for_visual = torch.autograd.grad(term, [audio, visual], retain_graph=True)
        assert for_audio[0].abs().sum() == 0 < for_audio[1].abs().sum()
        assert for_visual[1].abs().sum() == 0 < for_visual[0].abs().sum()


def test_imitation_pulls_the_weaker_towards_the_stronger():
    audio, visual = torch.tensor([[3.0, 0.0]]), torch.zeros(1, 2, requires_grad=True)
    found = imitation(audio, visual, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(found.divergence + found.distance, [visual])
    assert gradient[0, 0] < 0  # a step against it raises the true class


@pytest.mark.parametrize(("strengths", "ahead", "behind"), [((4, 0), "audio", "visual"), ((0, 4), "visual", "audio")])
def test_a_planted_advantage_is_what_is_imitated(strengths, ahead, behind):
    each, _ = only_pass(audio=strengths[0], visual=strengths[1])
    assert each.coefficients[f"{ahead}_imitated"] > 0.5
    assert each.coefficients[f"{behind}_imitated"] < 0.05


def test_swapping_the_modalities_swaps_the_coefficients():
    first, _ = only_pass(audio=2.0, visual=0.5)
    second, _ = only_pass(audio=0.5, visual=2.0, swap_noise=True)
    assert float(first.coefficients["audio_imitated"]) == pytest.approx(float(second.coefficients["visual_imitated"]))
    assert float(first.coefficients["visual_imitated"]) == pytest.approx(float(second.coefficients["audio_imitated"]))
    torch.testing.assert_close(first.terms["divergence"], second.terms["divergence"])


def test_the_loss_is_multi_heads_and_both_terms_times_the_strength():
    objective = Mbsd(first_epoch=1, last_epoch=None, strength=3.0)
    (each,) = objective.passes(step := step_on(tiny_model(objective), audio=2.0))
    terms = each.terms
    assert terms["distance"] > 0 < terms["divergence"]
    expected = multi_head_pass(step).loss + 3.0 * (terms["distance"] + terms["divergence"])
    torch.testing.assert_close(each.loss, expected)
