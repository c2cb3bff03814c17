import math

import numpy as np
import pytest
import torch

from tests.worker.objectives.stepping import step_on, tiny_model
from worker.contract.errors import TrainingError
from worker.objectives.amco import Amco, class_mask, dependence, masked_share
from worker.objectives.base import EpochView


def amco(epoch=3):
    objective = Amco(first_epoch=1, last_epoch=None, sigma=0.5, epsilon=0.3)
    model = tiny_model(objective)
    objective.plan_epoch(EpochView(epoch, np.arange(16), None, None))
    return objective, model


def coefficients(objective, step):
    passes = objective.passes(step)
    found = next(passes).coefficients
    assert list(passes) == []
    return found


def test_the_share_of_masked_classes_by_hand():
    assert masked_share(0.0, 0.3) == 0
    assert masked_share(0.15, 0.3) == pytest.approx(math.sin(math.pi / 4))
    assert masked_share(2.0, 0.3) == 1


def test_dependence_by_hand_and_swapped():
    audio, visual = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    assert dependence(audio, visual).tolist() == pytest.approx([4 / 6, 2 / 6])
    assert dependence(visual, audio).tolist() == pytest.approx([2 / 6, 4 / 6])


def test_a_mask_takes_its_number_of_classes_from_every_sample():
    kept = class_mask(torch.Size((50, 4)), 3, torch.Generator().manual_seed(0))
    assert (kept.sum(dim=1) == 1).all()
    assert len(set(kept.int().argmax(dim=1).tolist())) == 4


@pytest.mark.parametrize(("strengths", "masked", "other"), [((6, 0), "audio", "visual"), ((0, 6), "visual", "audio")])
def test_a_planted_advantage_masks_that_modality_from_the_next_batch_on(strengths, masked, other):
    objective, model = amco()
    views = [step_on(model, audio=strengths[0], visual=strengths[1], epoch=3, seed=seed) for seed in range(5)]
    found = [coefficients(objective, step) for step in views]
    assert found[0][f"{masked}_dependence"] > 0.5 > found[0][f"{other}_dependence"]
    assert [float(each["masked_share"]) for each in found][:2] == pytest.approx([0, math.sin(math.pi / 3)])
    state = objective.state()
    assert (state[f"{masked}_dependent"], state[f"{other}_dependent"]) == (True, False)


def test_every_loss_reaches_its_encoder_and_the_second_layer():
    objective, model = amco()
    each = next(objective.passes(step := step_on(model, epoch=3)))
    features = list(step.output.features.values())
    for term, reaches in (("fused", (True, True)), ("audio", (True, False)), ("visual", (False, True))):
        found = torch.autograd.grad(each.terms[term], features, retain_graph=True, allow_unused=True)
        assert tuple(g is not None and bool(g.abs().sum() > 0) for g in found) == reaches
    assert torch.autograd.grad(each.terms["fused"], [model.fusion.mix.weight])[0].abs().sum() > 0


def test_its_parts_add_up_to_the_fused_logits():
    _, model = amco()
    output = step_on(model).output
    torch.testing.assert_close(sum(output.split_logits), output.fused_logits)


def test_a_fusion_that_is_not_concat_is_refused():
    model = tiny_model(amco()[0])
    with pytest.raises(TrainingError, match="concat"):
        Amco(first_epoch=1, last_epoch=None, sigma=0.5, epsilon=0.3).adapt(model)


@pytest.mark.parametrize(("strengths", "masked"), [((6, 0), "audio"), ((0, 6), "visual")])
def test_the_losses_are_of_the_masked_logits_by_hand(strengths, masked):
    objective, model = amco(epoch=5)
    coefficients(objective, step_on(model, audio=strengths[0], visual=strengths[1], epoch=5))
    step = step_on(model, audio=strengths[0], visual=strengths[1], epoch=5)
    each = next(objective.passes(step))
    assert float(each.coefficients["masked_share"]) == 1  # all classes: the mask needs no draw
    parts = dict(zip(("audio", "visual"), model.fusion.parts_of(*step.output.features.values()), strict=True))
    parts[masked] = torch.zeros_like(parts[masked])
    expected = {name: step.cross_entropy(part) for name, part in parts.items()}
    expected["fused"] = step.cross_entropy(model.fusion.mix(parts["audio"] + parts["visual"]))
    for name, loss in expected.items():
        torch.testing.assert_close(each.terms[name], loss)
    torch.testing.assert_close(each.loss, sum(expected.values()))
