"""OGM and OGM-GE."""

import math

import pytest
import torch

from tests.worker.objectives.linear_batch import Batch
from worker.contract.errors import TrainingError
from worker.objectives.joint import Joint
from worker.objectives.ogm import Ogm, OgmGe, modulated, modulation
from worker.objectives.scores import true_class_score

FIELDS = {"alpha": 0.3, "tensors": "weights", "first_epoch": 1, "last_epoch": 2}


def test_the_score_is_the_sum_of_the_true_classes_probabilities():
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    assert float(true_class_score(logits, torch.tensor([0, 1]))) == pytest.approx(0.75 + 0.5)


def test_the_leading_modality_is_slowed_by_the_tanh_of_its_lead_and_the_other_not_at_all():
    found = modulation(torch.tensor(3.0), torch.tensor(1.5), alpha=0.5)
    assert float(found["audio"]) == pytest.approx(1 - math.tanh(1.0))
    assert float(found["visual"]) == 1
    swapped = modulation(torch.tensor(1.5), torch.tensor(3.0), alpha=0.5)
    assert (swapped["visual"], swapped["audio"]) == (found["audio"], found["visual"])
    assert modulation(torch.tensor(2.0), torch.tensor(2.0), alpha=0.5) == {"audio": 1, "visual": 1}


def test_a_score_of_nothing_gives_a_finite_factor():
    found = modulation(torch.tensor(1.0), torch.tensor(0.0), alpha=0.3)
    assert (float(found["audio"]), float(found["visual"])) == (0, 1)


def test_noise_comes_after_the_scaling_and_is_as_large_as_the_unscaled_gradient():
    gradient = torch.tensor([1.0, 3.0])
    found = modulated(gradient, torch.tensor(0.25), torch.tensor([1.0, -1.0]))
    deviation = math.sqrt(2)
    torch.testing.assert_close(found, torch.tensor([0.25 + deviation, 0.75 - deviation]))
    assert modulated(torch.tensor([2.0]), torch.tensor(0.5), torch.tensor([1.0])) == pytest.approx(1.0)


@pytest.mark.parametrize(("leader", "other"), [("audio", "visual"), ("visual", "audio")])
def test_a_planted_advantage_slows_that_encoder_by_the_published_factor(leader, other):
    plain = Batch(Joint(), leader).gradients()
    batch = Batch(Ogm(**FIELDS), leader)
    found = batch.gradients()
    scores = [float(true_class_score(part, batch.labels)) for part in batch.view().output.split_logits]
    expected = 1 - math.tanh(0.3 * max(scores) / min(scores))
    assert batch.coefficients == pytest.approx({f"{leader}_factor": expected, f"{other}_factor": 1})
    torch.testing.assert_close(getattr(found, leader), expected * getattr(plain, leader))
    torch.testing.assert_close(getattr(found, other), getattr(plain, other), rtol=0, atol=0)


def test_fusion_and_biases_keep_their_gradients():
    plain, batch = Batch(Joint()), Batch(Ogm(**FIELDS))
    kept = [*batch.model.fusion.parameters(), batch.model.encoders.audio.bias, batch.model.encoders.visual.bias]
    same = [*plain.model.fusion.parameters(), plain.model.encoders.audio.bias, plain.model.encoders.visual.bias]
    found, expected = batch.gradients().all, plain.gradients().all
    for own, other in zip(kept, same, strict=True):
        assert torch.equal(found[own], expected[other])


def test_the_parts_it_compares_add_up_to_the_fused_logits():
    output = Batch(Ogm(**FIELDS)).view().output
    torch.testing.assert_close(sum(output.split_logits), output.fused_logits, rtol=0, atol=1e-6)


def test_enhancement_puts_noise_of_the_gradients_size_on_both_encoders():
    quiet = Batch(Ogm(**FIELDS)).gradients()
    loud, again, other = (Batch(OgmGe(**FIELDS)).gradients(seed=seed) for seed in (0, 0, 1))
    plain = Batch(Joint()).gradients()
    for modality in ("audio", "visual"):
        noise = (getattr(loud, modality) - getattr(quiet, modality)) / getattr(plain, modality).std()
        assert 0.3 < float(noise.std()) < 3
        assert torch.equal(getattr(loud, modality), getattr(again, modality))
        assert not torch.equal(getattr(loud, modality), getattr(other, modality))


@pytest.mark.parametrize("kind", [Ogm, OgmGe])
def test_after_its_window_it_is_joint_training(kind):
    found, plain = Batch(kind(**FIELDS)).gradients(epoch=3), Batch(Joint()).gradients()
    assert torch.equal(found.audio, plain.audio)
    assert torch.equal(found.visual, plain.visual)


def test_a_linear_encoder_has_nothing_to_modulate_for_the_official_choice():
    with pytest.raises(TrainingError, match="set tensors to 'weights'"):
        Batch(Ogm(**{**FIELDS, "tensors": "conv"}))
