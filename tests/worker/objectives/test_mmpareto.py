"""MMPareto."""

import pytest
import torch

from tests.worker.objectives.linear_batch import Batch
from worker.objectives.mmpareto import MmPareto, combined, pareto_weight
from worker.objectives.multi_head import MultiHead

FIELDS = {"gamma": 1.5, "first_epoch": 1, "last_epoch": 2}


def weight(joint, unimodal):
    found, cosine = pareto_weight([torch.tensor(joint)], [torch.tensor(unimodal)])
    return float(found), float(cosine)


def test_gradients_that_agree_weigh_the_same():
    assert weight([1.0, 0.0], [1.0, 1.0]) == (0.5, pytest.approx(0.5**0.5))


def test_in_conflict_the_weights_are_those_of_the_shortest_combination():
    # gJ = (2, 0), gU = (-1, 1): a_J = (gU.gU - gJ.gU) / (gJ.gJ + gU.gU - 2 gJ.gU) = (2 + 2) / (4 + 2 + 4) = 0.4
    found, cosine = weight([2.0, 0.0], [-1.0, 1.0])
    assert found == pytest.approx(0.4)
    assert cosine == pytest.approx(-(0.5**0.5))
    shares = torch.linspace(0, 1, 1_001)
    lengths = (2 * shares - (1 - shares)) ** 2 + (1 - shares) ** 2
    assert found == pytest.approx(float(shares[lengths.argmin()]), abs=1e-3)


def test_the_roles_swap_the_weights():
    assert weight([2.0, 0.0], [-1.0, 1.0])[0] == pytest.approx(1 - weight([-1.0, 1.0], [2.0, 0.0])[0])


def test_the_weights_are_of_the_whole_encoder_not_of_a_tensor():
    joint = [torch.tensor([2.0]), torch.tensor([0.0])]
    unimodal = [torch.tensor([-1.0]), torch.tensor([1.0])]
    assert float(pareto_weight(joint, unimodal)[0]) == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(20))
def test_in_conflict_the_direction_harms_neither(seed):
    generator = torch.Generator().manual_seed(seed)
    joint, unimodal = torch.randn(2, 30, generator=generator)
    unimodal = unimodal - 2 * (joint @ unimodal).clamp_min(0) / (joint @ joint) * joint
    unimodal = unimodal - 0.3 * joint
    a, cosine = pareto_weight([joint], [unimodal])
    assert cosine < 0
    direction = 2 * a * joint + 2 * (1 - a) * unimodal
    assert float(direction @ joint) >= -1e-4
    assert float(direction @ unimodal) >= -1e-4


@pytest.mark.parametrize(("joint", "unimodal"), [([0.0], [1.0]), ([1.0], [0.0]), ([0.0], [0.0]), ([1.0], [-1.0])])
def test_nothing_of_it_is_ever_infinite(joint, unimodal):
    a, cosine = pareto_weight([torch.tensor(joint)], [torch.tensor(unimodal)])
    assert torch.isfinite(combined(torch.tensor(joint), torch.tensor(unimodal), a, 1.5)).all()
    assert torch.isfinite(cosine)
    assert 0 < float(a) < 1


def test_the_length_of_each_tensor_is_at_least_that_of_the_sum_times_gamma():
    joint, unimodal = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0])
    found = combined(joint, unimodal, torch.tensor(0.4), gamma=1.5)
    direction = 0.8 * joint + 1.2 * unimodal  # (0.4, 1.2), length sqrt(1.6); the sum is (1, 1), length sqrt(2)
    torch.testing.assert_close(found, 1.5 * direction * (2 / 1.6) ** 0.5)
    equal = combined(joint, unimodal, torch.tensor(0.5), gamma=1.5)
    torch.testing.assert_close(equal, 1.5 * (joint + unimodal))


def conflicting(objective):
    """A batch whose audio head reads its features the wrong way round, so that both losses pull apart."""
    batch = Batch(objective)
    with torch.no_grad():
        batch.model.heads["audio"].weight.mul_(-1.0)
    return batch


def passes_of(batch):
    view = batch.view()
    names = ("fused", "audio", "visual")
    pair = batch.model.encoders
    found = {}
    for name in names:
        loss = view.cross_entropy(getattr(view.output, f"{name}_logits"))
        grads = torch.autograd.grad(loss, [pair.audio.weight, pair.visual.weight], retain_graph=True, allow_unused=True)
        found[name] = dict(zip(("audio", "visual"), grads, strict=True))
    return found


@pytest.mark.parametrize("make", [Batch, conflicting])
def test_a_step_is_that_of_the_formula(make):
    batch = make(MmPareto(**FIELDS))
    parts = passes_of(batch)
    found = batch.gradients()
    for modality in ("audio", "visual"):
        joint, unimodal = parts["fused"][modality], parts[modality][modality]
        assert not torch.equal(joint, unimodal)
        a = torch.tensor(batch.coefficients[f"{modality}_joint_weight"])
        torch.testing.assert_close(getattr(found, modality), combined(joint, unimodal, a, 1.5))
    assert (batch.coefficients["audio_cosine"] < 0) == (make is conflicting)


def test_heads_and_fusion_keep_the_summed_gradient():
    batch, plain = Batch(MmPareto(**FIELDS)), Batch(MultiHead())
    found, expected = batch.gradients().all, plain.gradients().all
    own = [*batch.model.fusion.parameters(), *batch.model.heads.parameters()]
    other = [*plain.model.fusion.parameters(), *plain.model.heads.parameters()]
    for a, b in zip(own, other, strict=True):
        torch.testing.assert_close(found[a], expected[b])


def test_after_its_window_it_is_multi_head_training():
    found, plain = Batch(MmPareto(**FIELDS)).gradients(epoch=3), Batch(MultiHead()).gradients()
    assert torch.equal(found.audio, plain.audio)
    assert torch.equal(found.visual, plain.visual)


def test_a_planted_advantage_shows_in_the_cosine_of_that_modality_and_swaps_with_it():
    found = {}
    for leader in ("audio", "visual"):
        batch = Batch(MmPareto(**FIELDS), leader)
        batch.gradients()
        found[leader] = batch.coefficients
    for own, other in (("audio", "visual"), ("visual", "audio")):
        assert found[own][f"{own}_cosine"] == pytest.approx(found[other][f"{other}_cosine"])
        assert found[own][f"{own}_cosine"] != pytest.approx(found[own][f"{other}_cosine"], abs=0.01)
