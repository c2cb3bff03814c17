"""ARL."""

import math

import pytest
import torch

from tests.worker.objectives.linear_batch import Batch
from worker.objectives.arl import Arl, feature_weights
from worker.objectives.joint import Joint

FIELDS = {
    "gamma": 2.0,
    "temperature": 8.0,
    "warm_up_epochs": 1,
    "clip_norm": 40.0,
    "first_epoch": 1,
    "last_epoch": 3,
}


def test_the_weights_by_hand():
    audio, visual = torch.tensor([[math.log(9.0), 0.0]]), torch.tensor([[0.0, 0.5]])
    q = math.exp(0.5) / (1 + math.exp(0.5))
    entropies = [-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)), -(q * math.log(q) + (1 - q) * math.log(1 - q))]
    shares = [max(value / sum(entropies), 0.3) for value in entropies]
    certainties = [1 / share / (1 / shares[0] + 1 / shares[1]) for share in shares]
    masses = [math.log(9.0), 0.5]
    contributions = [mass / sum(masses) for mass in masses]
    exponents = [
        math.exp(8 * contributions[1] * certainties[0]),
        math.exp(8 * contributions[0] * certainties[1]),
    ]
    found = feature_weights(audio, visual, 8.0)
    assert found.tolist() == pytest.approx([value / sum(exponents) for value in exponents], rel=1e-5)
    torch.testing.assert_close(feature_weights(visual, audio, 8.0), found.flip(0))


def test_alike_modalities_weigh_the_same_and_nothing_is_ever_infinite():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert feature_weights(logits, logits, 8.0).tolist() == [0.5, 0.5]
    for size in (0.0, 1e4):
        assert torch.isfinite(feature_weights(size * logits, size * logits.flip(0), 8.0)).all()


def test_contribution_lowers_the_own_weight_and_certainty_raises_it():
    logits = torch.tensor([[2.0, 0.0, -2.0]])
    shifted = feature_weights(logits + 5.0, logits, 8.0)  # a shift changes no probability
    assert shifted[0] < 0.5 < shifted[1]
    vague = torch.tensor([[4 / 3, 4 / 3, 4 / 3]])  # the same mass of logits
    certain = feature_weights(logits, vague, 8.0)
    assert certain[1] < 0.5 < certain[0]


@pytest.mark.parametrize(("leader", "other"), [("audio", "visual"), ("visual", "audio")])
def test_a_planted_advantage_gives_the_other_modality_the_larger_weight(leader, other):
    batch = Batch(Arl(**FIELDS), leader, advantage=40.0)
    batch.gradients(epoch=2)
    assert batch.coefficients[f"{leader}_weight"] < 0.4 < 0.6 < batch.coefficients[f"{other}_weight"]
    mirrored = Batch(Arl(**FIELDS), other, advantage=40.0)
    mirrored.gradients(epoch=2)
    assert mirrored.coefficients[f"{other}_weight"] == pytest.approx(batch.coefficients[f"{leader}_weight"])


@pytest.mark.parametrize(("epoch", "gamma"), [(1, 1.0), (2, 2.0)])
def test_the_gradient_of_an_encoder_is_that_of_the_loss_times_one_plus_its_weight(epoch, gamma):
    batch = Batch(Arl(**FIELDS))
    found = batch.gradients(epoch)
    view, pair = batch.view(), batch.model.encoders
    loss = view.cross_entropy(view.output.fused_logits) + gamma * (
        view.cross_entropy(view.without("audio").fused_logits) + view.cross_entropy(view.without("visual").fused_logits)
    )
    audio, visual, fusion = torch.autograd.grad(
        loss, [pair.audio.weight, pair.visual.weight, batch.model.fusion.linear.weight]
    )
    torch.testing.assert_close(found.audio, (1 + batch.coefficients["audio_weight"]) * audio)
    torch.testing.assert_close(found.visual, (1 + batch.coefficients["visual_weight"]) * visual)
    torch.testing.assert_close(found.all[batch.model.fusion.linear.weight], fusion)
    assert sum(batch.coefficients.values()) == pytest.approx(epoch - 1)  # 0 in the warm-up


def test_every_term_has_gradient_and_the_loss_is_their_sum():
    batch = Batch(Arl(**FIELDS))
    (each,) = batch.objective.passes(batch.view(epoch=2))
    torch.testing.assert_close(sum(each.terms.values()), each.loss)
    pair = batch.model.encoders
    reached = {"fused": (True, True), "audio": (True, False), "visual": (False, True)}
    for name, term in each.terms.items():
        grads = torch.autograd.grad(term, [pair.audio.weight, pair.visual.weight], retain_graph=True, allow_unused=True)
        assert tuple(g is not None and bool(g.abs().sum() > 0) for g in grads) == reached[name]


def test_long_gradients_are_clipped():
    batch = Batch(Arl(**{**FIELDS, "clip_norm": 0.01}))
    norm = torch.nn.utils.get_total_norm(batch.gradients(epoch=2).all.values())
    assert float(norm) == pytest.approx(0.01, rel=1e-3)


def test_after_its_window_it_is_joint_training():
    batch, plain = Batch(Arl(**FIELDS)), Batch(Joint())
    assert torch.equal(batch.gradients(epoch=4).audio, plain.gradients().audio)
