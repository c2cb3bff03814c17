"""AGM."""

import math

import pytest
import torch

from tests.worker.objectives.linear_batch import Batch
from worker.objectives.agm import MAX_SCORE, Agm, shapley_logits, share_factors
from worker.objectives.gradient_scale import clip_total_norm, scale_gradient
from worker.objectives.joint import Joint

FIELDS = {"alpha": 1.0, "clip_norm": 1.0, "first_epoch": 1, "last_epoch": 2}


def test_the_shares_add_up_to_the_fused_logits_and_swap_with_the_modalities():
    fused, without_audio, without_visual = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    audio, visual = shapley_logits(fused, without_audio, without_visual)
    torch.testing.assert_close(audio + visual, fused)
    torch.testing.assert_close(audio, 0.5 * (fused - without_audio + without_visual))
    swapped = shapley_logits(fused, without_visual, without_audio)
    assert torch.equal(swapped[0], visual)
    assert torch.equal(swapped[1], audio)


def test_the_factors_by_hand():
    scores, means = torch.tensor([0.5, 1.5]), torch.tensor([1.0, 1.2])
    found = share_factors(scores, means, alpha=2.0)
    expected = [
        math.exp(2 * (math.exp(0.2) - math.exp(1.0))),
        math.exp(2 * (math.exp(-0.2) - math.exp(-1.0))),
    ]
    assert found.tolist() == pytest.approx(expected)
    assert share_factors(scores.flip(0), means.flip(0), alpha=2.0).tolist() == pytest.approx(expected[::-1])


def test_the_usual_lead_changes_nothing_and_an_extreme_one_is_capped():
    scores = torch.tensor([0.3, 2.0])
    assert share_factors(scores, scores, alpha=1.0).tolist() == [1, 1]
    found = share_factors(torch.tensor([MAX_SCORE, 0.0]), torch.tensor([0.0, MAX_SCORE]), alpha=5.0)
    assert torch.isfinite(found).all()
    assert float(found[0]) == pytest.approx(math.exp(50), rel=1e-4)
    assert float(found[1]) == 0


def test_scaling_changes_the_gradient_and_not_the_value():
    values = torch.tensor([1.3, -2.7], requires_grad=True)
    scaled = scale_gradient(values, torch.tensor(0.25))
    assert torch.equal(scaled, values)
    scaled.sum().backward()
    assert values.grad.tolist() == [0.25, 0.25]


def test_clipping_shortens_what_is_too_long_alone():
    first, second = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    long = clip_total_norm({first: torch.tensor([3.0]), second: torch.tensor([4.0])}, 1.0)
    torch.testing.assert_close(torch.cat(list(long.values())), torch.tensor([0.6, 0.8]))
    short = clip_total_norm({first: torch.tensor([0.3]), second: torch.tensor([0.4])}, 1.0)
    assert torch.cat(list(short.values())).tolist() == pytest.approx([0.3, 0.4])


@pytest.mark.parametrize(("leader", "other"), [("audio", "visual"), ("visual", "audio")])
def test_a_planted_advantage_slows_that_share_and_speeds_up_the_other(leader, other):
    batch = Batch(Agm(**FIELDS), leader)
    batch.gradients()
    assert batch.coefficients[f"{leader}_factor"] < 1 < batch.coefficients[f"{other}_factor"]
    mirrored = Batch(Agm(**FIELDS), other)
    mirrored.gradients()
    assert mirrored.coefficients[f"{other}_factor"] == pytest.approx(batch.coefficients[f"{leader}_factor"])


def test_the_gradient_of_an_encoder_is_that_of_the_derivation():
    """0.5 (k_a + k_v) df + 0.5 (k_a - k_v) d[f(no visual) - f(no audio)], with dL/df of the unscaled loss."""
    batch = Batch(Agm(**FIELDS))
    found = batch.gradients()
    k_audio, k_visual = batch.coefficients["audio_factor"], batch.coefficients["visual_factor"]
    view = batch.view()
    fused = view.output.fused_logits
    upstream = (fused.softmax(dim=1) - torch.nn.functional.one_hot(batch.labels)) / len(batch.labels)
    mixed = 0.5 * (k_audio + k_visual) * fused + 0.5 * (k_audio - k_visual) * (
        view.without("visual").fused_logits - view.without("audio").fused_logits
    )
    pair = batch.model.encoders
    expected = torch.autograd.grad((mixed * upstream.detach()).sum(), [pair.audio.weight, pair.visual.weight])
    torch.testing.assert_close(found.audio, expected[0])
    torch.testing.assert_close(found.visual, expected[1])


def test_the_running_means_are_those_of_all_steps_and_come_back():
    batch = Batch(Agm(**FIELDS))
    scores = []
    for shift in (0.0, 1.0, 2.0):
        batch.inputs["audio"] = batch.inputs["audio"] + shift * torch.eye(3)[0]
        view = batch.view()
        shares = shapley_logits(
            view.output.fused_logits, view.without("audio").fused_logits, view.without("visual").fused_logits
        )
        scores.append(torch.stack([view.cross_entropy(share).detach() for share in shares]))
        batch.gradients()
    state = batch.objective.state()
    torch.testing.assert_close(state["means"], torch.stack(scores).mean(dim=0))
    other = Batch(Agm(**FIELDS))
    other.objective.restore(state)
    other.inputs = batch.inputs
    assert torch.equal(other.gradients().audio, batch.gradients().audio)
    assert other.objective.state()["num_steps"] == 4


def test_a_large_gradient_of_the_fusion_clips_the_whole_step():
    def norm(size, clip_norm):
        batch = Batch(Agm(**{**FIELDS, "clip_norm": clip_norm}))
        batch.labels = 1 - batch.labels.clamp(max=1)
        batch.inputs["audio"] = size * torch.eye(3)[2].repeat(len(batch.labels), 1)
        found = batch.gradients().all
        largest = found[batch.model.fusion.linear.weight].abs().max()
        return float(torch.nn.utils.get_total_norm(found.values())), float(largest)

    loose, largest = norm(50.0, 1_000.0)
    assert largest > 1
    assert norm(50.0, 1.0)[0] == pytest.approx(1.0, rel=1e-4)
    assert loose > 1
    small, largest = norm(0.1, 1e-3)
    assert largest < 1
    assert small > 1e-2


def test_after_its_window_it_is_joint_training_and_its_means_stand_still():
    batch, plain = Batch(Agm(**FIELDS)), Batch(Joint())
    found, expected = batch.gradients(epoch=3), plain.gradients()
    assert torch.equal(found.audio, expected.audio)
    assert batch.objective.state()["num_steps"] == 0


def test_a_sample_that_is_lost_counts_as_the_official_code_clamps_it():
    batch = Batch(Agm(**FIELDS))
    batch.inputs["audio"] = -1_000.0 * batch.inputs["audio"]
    batch.gradients()
    assert float(batch.objective.state()["means"].max()) == pytest.approx(MAX_SCORE)


def test_after_its_window_large_gradients_are_left_as_they_are():
    def gradients(objective):
        batch = Batch(objective)
        batch.labels = 1 - batch.labels.clamp(max=1)
        batch.inputs["audio"] = 50.0 * torch.eye(3)[2].repeat(len(batch.labels), 1)
        return batch.gradients(epoch=3).audio

    assert torch.equal(gradients(Agm(**FIELDS)), gradients(Joint()))
