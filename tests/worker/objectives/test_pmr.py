import math

import numpy as np
import pytest
import torch

from tests.worker.objectives.stepping import set_up, step_on, tiny_model
from worker.objectives.base import EpochView, Evaluated
from worker.objectives.pmr import Pmr, chosen_clips, class_means, mean_entropy, prototype_logits

LABELS = np.arange(32) % 4


def pmr(**fields):
    defaults = {
        "first_epoch": 1,
        "last_epoch": None,
        "alpha": 1.0,
        "momentum": 0.25,
        "share": 1.0,
        "entropy_weight": 0.0,
        "entropy_epochs": 5,
    }
    objective = Pmr(**{**defaults, **fields})
    model = tiny_model(objective)
    set_up(objective, model)
    return objective, model


def view(epoch=1, scale=1.0):
    """A view whose clips show their class by `scale` in both modalities."""

    def look(rows, drops=(None,)):
        shown = scale * np.eye(4, dtype=np.float32)[LABELS[rows]]
        return Evaluated({"audio": shown, "visual": shown}, shown, shown, {})

    return EpochView(epoch, np.arange(32), None, None, labels=LABELS, look=look)


def only_pass(objective, model, **fields):
    (each,) = objective.passes(step := step_on(model, **fields))
    return each, step


def test_class_means_by_hand_and_a_class_without_clips_is_marked():
    means, known = class_means(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 5.0]]), torch.tensor([0, 0, 2]), 4)
    assert means.tolist() == [[2, 3], [0, 0], [5, 5], [0, 0]]
    assert known.tolist() == [True, False, True, False]


def test_logits_are_minus_the_distances_and_a_class_without_a_prototype_is_impossible():
    prototypes, known = torch.tensor([[0.0, 0.0], [3.0, 4.0], [9.0, 9.0]]), torch.tensor([True, True, False])
    logits = prototype_logits(torch.tensor([[0.0, 0.0]]), prototypes, known)
    assert logits[0, :2].tolist() == pytest.approx([0, -5], abs=2e-4)
    assert logits.softmax(dim=1)[0, 2] == 0
    assert float(mean_entropy(torch.tensor([[0.0, 0.0, torch.finfo(torch.float32).min]]))) == pytest.approx(math.log(2))


def test_gradients_on_a_prototype_and_beside_a_missing_class_are_finite():
    features = torch.zeros(1, 2, requires_grad=True)
    logits = prototype_logits(features, torch.zeros(3, 2), torch.tensor([True, True, False]))
    (logits.logsumexp(dim=1).sum() + mean_entropy(logits)).backward()
    assert torch.isfinite(features.grad).all()


def test_every_class_gives_its_share_and_a_few_clips_at_least():
    labels = np.array([0] * 100 + [1] * 2 + [2] * 20)
    rows = chosen_clips(np.arange(122), labels, 0.1, torch.Generator().manual_seed(0))
    assert np.bincount(labels[rows]).tolist() == [10, 2, 4]
    assert len(set(rows)) == len(rows)
    other = chosen_clips(np.arange(122), labels, 0.1, torch.Generator().manual_seed(1))
    assert not np.array_equal(rows, other)


def test_prototypes_begin_as_class_means_and_then_move_by_the_momentum():
    objective, _ = pmr()
    objective.plan_epoch(view(1, scale=1.0))
    torch.testing.assert_close(objective.state()["audio_prototypes"], torch.eye(4))
    plan = objective.plan_epoch(view(2, scale=5.0))
    torch.testing.assert_close(objective.state()["visual_prototypes"], (0.25 * 1 + 0.75 * 5) * torch.eye(4))
    assert plan.method == {"prototype_clips": 32}


@pytest.mark.parametrize(("strengths", "ahead", "behind"), [((1, 0), "audio", "visual"), ((0, 1), "visual", "audio")])
def test_a_planted_advantage_gives_the_prototype_loss_to_the_other_modality(strengths, ahead, behind):
    objective, model = pmr(alpha=0.5)
    objective.plan_epoch(view())
    each, step = only_pass(objective, model, audio=strengths[0], visual=strengths[1])
    found = each.coefficients
    assert found[f"{ahead}_score"] > found[f"{behind}_score"]
    assert (found[f"{ahead}_prototype_weight"], found[f"{behind}_prototype_weight"]) == (0, 0.5)
    features = [step.output.features[name] for name in (behind, ahead)]
    slower, faster = torch.autograd.grad(each.terms["prototypes"], features, retain_graph=True)
    assert slower.abs().sum() > 0
    assert faster.abs().sum() == 0
    logits = prototype_logits(features[0], torch.eye(4), torch.ones(4, dtype=torch.bool))
    expected = step.cross_entropy(step.output.fused_logits) + 0.5 * step.cross_entropy(logits)
    torch.testing.assert_close(each.loss, expected)


def test_swapping_the_modalities_swaps_the_coefficients():
    objective, model = pmr()
    objective.plan_epoch(view())
    first, _ = only_pass(objective, model, audio=1.0, visual=0.3)
    second, _ = only_pass(objective, model, audio=0.3, visual=1.0, swap_noise=True)
    for name in ("score", "prototype_weight"):
        assert float(first.coefficients[f"audio_{name}"]) == pytest.approx(float(second.coefficients[f"visual_{name}"]))
        assert float(first.coefficients[f"visual_{name}"]) == pytest.approx(float(second.coefficients[f"audio_{name}"]))


def test_the_entropy_option_softens_the_faster_modality_in_the_first_epochs_alone():
    objective, model = pmr(entropy_weight=0.5, entropy_epochs=2)
    objective.plan_epoch(view())
    each, step = only_pass(objective, model, audio=1.0, visual=0.0, epoch=2)
    features = [step.output.features[name] for name in ("audio", "visual")]
    faster, slower = torch.autograd.grad(each.terms["entropy"], features, retain_graph=True)
    assert faster.abs().sum() > 0 == slower.abs().sum()
    torch.testing.assert_close(each.loss, each.terms["fused"] + each.terms["prototypes"] - 0.5 * each.terms["entropy"])
    later, _ = only_pass(objective, model, epoch=3)
    assert "entropy" not in later.terms


def test_outside_of_its_window_it_looks_at_nothing():
    objective, _ = pmr(first_epoch=2)
    blind = EpochView(1, np.arange(32), None, None, labels=LABELS)
    assert objective.plan_epoch(blind).method == {}
    assert objective.state() == {}
