import numpy as np
import pytest
import torch

from tests.worker.objectives.stepping import set_up, step_on, tiny_model
from worker.objectives.base import EpochView
from worker.objectives.masking import GmmMasking, ModalityDropout, drawn_masks
from worker.objectives.multi_head import multi_head_pass
from worker.science.mixture import fit_mixtures


def two_tails():
    rng = np.random.default_rng(0)
    parts = [rng.normal(mean, 0.05, 200) for mean in (0.8, 0.0, -0.8)]
    return np.concatenate(parts).clip(-1, 1).astype(np.float32)


def view(epoch, gaps=None):
    rows = np.arange(600)
    return EpochView(epoch, rows, gaps, None if gaps is None else fit_mixtures(gaps, seed=0))


def masking(cls=GmmMasking, **fields):
    defaults = {"strength": 1.0, "guidance": "posterior"} if cls is GmmMasking else {"probability": 1.0}
    objective = cls(**{"warm_up_epochs": 1, **defaults, **fields})
    model = tiny_model(objective)
    set_up(objective, model)
    return objective, model


def only_pass(objective, step):
    (each,) = objective.passes(step)
    return each


def test_a_draw_masks_one_modality_or_none_by_hand():
    probabilities = torch.tensor([[0.5, 0.25]] * 4)
    kept = drawn_masks(probabilities, torch.tensor([0.1, 0.6, 0.74, 0.8]))
    assert kept.tolist() == [[0, 1], [1, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize(("audio", "visual", "masked"), [(8.0, 0.0, "audio"), (0.0, 8.0, "visual")])
def test_the_dominant_modality_of_a_sample_is_masked(audio, visual, masked):
    objective, model = masking()
    plan = objective.plan_epoch(view(2, two_tails()))
    found = only_pass(objective, step_on(model, audio=audio, visual=visual)).coefficients
    other = {"audio": "visual", "visual": "audio"}[masked]
    assert plan.stage == "adaptive"
    assert found[f"{masked}_masked"] > 0.9
    assert found[f"{other}_masked"] < 0.05


def test_balanced_samples_are_left_alone_by_the_mixture_and_by_the_gap():
    for guidance in ("posterior", "gap"):
        objective, model = masking(guidance=guidance)
        objective.plan_epoch(view(2, two_tails()))
        found = only_pass(objective, step_on(model, audio=4.0, visual=4.0)).coefficients
        assert found["audio_masked"] + found["visual_masked"] <= 0.1


def test_the_gap_itself_as_guidance_is_its_size_by_hand():
    objective, model = masking(guidance="gap", strength=0.5)
    step = step_on(model, audio=2.0, visual=1.0)
    found = objective.mask_probabilities(step)
    torch.testing.assert_close(found[:, 0] - found[:, 1], 0.5 * step.gaps)
    assert (found.min(dim=1).values == 0).all()


def test_swapping_the_modalities_swaps_the_probabilities():
    objective, model = masking()
    objective.plan_epoch(view(2, two_tails()))
    first = objective.mask_probabilities(step_on(model, audio=3.0, visual=0.5))
    objective.plan_epoch(view(2, -two_tails()))
    second = objective.mask_probabilities(step_on(model, audio=0.5, visual=3.0, swap_noise=True))
    torch.testing.assert_close(first, second.flip(1), rtol=1e-3, atol=1e-3)


def test_the_losses_of_the_single_modalities_see_everything():
    for cls in (GmmMasking, ModalityDropout):
        objective, model = masking(cls)
        objective.plan_epoch(view(2, two_tails()))
        step = step_on(model, audio=4.0)
        each, plain = only_pass(objective, step), multi_head_pass(step)
        assert torch.equal(each.terms["audio"], plain.terms["audio"])
        assert torch.equal(each.terms["visual"], plain.terms["visual"])
        assert not torch.equal(each.terms["fused"], plain.terms["fused"])
        torch.testing.assert_close(each.loss, sum(each.terms.values()))


def test_the_fused_loss_of_a_masked_sample_gives_its_encoder_nothing():
    objective, model = masking(ModalityDropout)
    objective.plan_epoch(view(2))
    step = step_on(model)
    fused = only_pass(objective, step).terms["fused"]
    gradients = torch.autograd.grad(fused, list(step.output.features.values()))
    zero = torch.stack([(gradient == 0).all(dim=1) for gradient in gradients])
    assert (zero.sum(dim=0) == 1).all()


def test_blind_dropout_masks_its_share_of_either_modality():
    objective, model = masking(ModalityDropout, probability=0.6)
    objective.plan_epoch(view(2))
    found = only_pass(objective, step_on(model, size=4_000)).coefficients
    assert float(found["audio_masked"]) == pytest.approx(0.3, abs=0.03)
    assert float(found["visual_masked"]) == pytest.approx(0.3, abs=0.03)


def test_warm_up_is_multi_head_and_no_mixture_masks_nothing():
    objective, model = masking()
    assert objective.plan_epoch(view(1)).stage == "warm-up"
    step = step_on(model)
    assert torch.equal(only_pass(objective, step).loss, multi_head_pass(step).loss)
    objective.plan_epoch(view(2))
    torch.testing.assert_close(only_pass(objective, step_on(model)).loss, multi_head_pass(step).loss)


def test_its_state_brings_back_the_same_masks():
    objective, model = masking()
    objective.plan_epoch(view(2, two_tails()))
    other, _ = masking()
    other.restore(objective.state())
    step = [step_on(model, audio=3.0) for _ in range(2)]
    assert torch.equal(only_pass(objective, step[0]).loss, only_pass(other, step[1]).loss)
