import math

import pytest
import torch
import torch.nn.functional as F

from tests.worker.objectives.stepping import step_on, tiny_model
from worker.objectives.experts import Experts, certainty_weights


def step(**fields):
    objective = Experts()
    return objective, step_on(tiny_model(objective), **fields)


def test_weights_by_hand_and_swapped():
    sure, unsure = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    by_hand = math.exp(-entropy) / (math.exp(-entropy) + 0.5)
    assert certainty_weights(sure, unsure)[0].tolist() == pytest.approx([by_hand, 1 - by_hand])
    assert certainty_weights(unsure, sure)[0].tolist() == pytest.approx([1 - by_hand, by_hand])


def test_fused_logits_are_the_logarithm_of_the_mixed_probabilities():
    _, batch = step(audio=2.0, visual=0.5)
    audio, visual = batch.output.audio_logits, batch.output.visual_logits
    weights = certainty_weights(audio, visual)
    mixed = weights[:, [0]] * audio.softmax(dim=1) + weights[:, [1]] * visual.softmax(dim=1)
    torch.testing.assert_close(batch.output.fused_logits.exp(), mixed)
    torch.testing.assert_close(mixed.sum(dim=1), torch.ones(16))


@pytest.mark.parametrize(("strengths", "strong"), [((6.0, 0.0), "audio"), ((0.0, 6.0), "visual")])
def test_a_planted_advantage_counts_more(strengths, strong):
    objective, batch = step(audio=strengths[0], visual=strengths[1])
    (each,) = objective.passes(batch)
    other = {"audio": "visual", "visual": "audio"}[strong]
    assert each.coefficients[f"{strong}_weight"] > 0.7 > each.coefficients[f"{other}_weight"]
    assert float(each.coefficients["audio_weight"] + each.coefficients["visual_weight"]) == pytest.approx(1)


def test_each_loss_reaches_its_own_encoder_alone():
    objective, batch = step()
    (each,) = objective.passes(batch)
    expected = sum(
        F.cross_entropy(getattr(batch.output, f"{name}_logits"), batch.labels) for name in ("audio", "visual")
    )
    torch.testing.assert_close(each.loss, expected)
    features = list(batch.output.features.values())
    for term, reaches in (("audio", (True, False)), ("visual", (False, True))):
        found = torch.autograd.grad(each.terms[term], features, retain_graph=True, allow_unused=True)
        assert tuple(g is not None and bool(g.abs().sum() > 0) for g in found) == reaches


def test_certain_logits_stay_finite():
    _, batch = step(audio=1e4, visual=0.0)
    assert torch.isfinite(batch.output.fused_logits).all()
