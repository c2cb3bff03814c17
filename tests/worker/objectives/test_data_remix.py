import math

import numpy as np
import pytest
import torch

from tests.worker.objectives.looking import NUM_TRAIN, view_of
from tests.worker.objectives.stepping import set_up, step_on, tiny_model
from worker.objectives.data_remix import DataRemix, assigned, confidence


def data_remix(**fields):
    objective = DataRemix(**{"warm_up_epochs": 1, "warm_up_weight": 0.5, "gamma": 2.0, **fields})
    model = tiny_model(objective)
    set_up(objective, model)
    return objective, model


def test_confidence_by_hand():
    found = confidence(np.array([[0.0, 0.0], [math.log(3.0), 0.0], [1000.0, 0.0]]))
    by_hand = 0.75 * math.log(0.75) + 0.25 * math.log(0.25) + math.log(2)
    assert found.tolist() == pytest.approx([0, by_hand, math.log(2)])


def test_a_sample_goes_to_the_modality_that_is_less_sure_whatever_its_class():
    sure, unsure = np.array([[0.0, 5.0]]), np.array([[0.1, 0.0]])
    assert assigned(sure, unsure).tolist() == [1]
    assert assigned(unsure, sure).tolist() == [0]


@pytest.mark.parametrize(("strengths", "weak"), [((0.0, 6.0), "audio"), ((6.0, 0.0), "visual")])
def test_a_planted_advantage_gives_the_samples_to_the_other_modality(strengths, weak):
    objective, _ = data_remix()
    plan = objective.plan_epoch(view_of(2, audio=strengths[0], visual=strengths[1]))
    assert plan.method[f"{weak}_share"] > 0.9
    column = ("audio", "visual").index(weak)
    assert plan.present[:, column].mean() > 0.9
    assert (plan.present.sum(axis=1) == 1).all()
    assert sorted(plan.rows) == list(range(NUM_TRAIN))
    # Samples of visual (group 0) come first, and a group holds one modality.
    np.testing.assert_array_equal(plan.groups, plan.present[:, 0].astype(int))


def test_swapping_the_modalities_swaps_the_shares():
    objective, _ = data_remix()
    first = objective.plan_epoch(view_of(2, audio=1.0, visual=2.0)).method
    second = objective.plan_epoch(view_of(2, audio=2.0, visual=1.0, swap_noise=True)).method
    assert first["audio_share"] == second["visual_share"]


def test_the_losses_of_a_batch_of_one_modality_by_hand():
    objective, model = data_remix()
    objective.plan_epoch(view_of(2, audio=1.0, visual=1.0))
    for column, name in enumerate(("audio", "visual")):
        present = torch.zeros(16, 2, dtype=torch.bool)
        present[:, column] = True
        step = step_on(model, present=present)
        (each,) = objective.passes(step)
        own = torch.nn.functional.cross_entropy(getattr(step.output, f"{name}_logits"), step.labels)
        fused = torch.nn.functional.cross_entropy(step.output.fused_logits, step.labels)
        torch.testing.assert_close(each.loss, fused + 2.0 * own)
        assert set(each.terms) == {"fused", name}


def test_the_warm_up_weighs_the_unimodal_losses_and_is_at_most_half_of_the_run():
    objective, model = data_remix(warm_up_epochs=50)
    assert [objective.plan_epoch(view_of(epoch, audio=1, visual=1)).stage for epoch in (1, 5, 6)] == [
        "warm-up",
        "warm-up",
        "adaptive",
    ]
    objective.plan_epoch(view_of(1, audio=1, visual=1))
    step = step_on(model)
    (each,) = objective.passes(step)
    losses = [
        torch.nn.functional.cross_entropy(getattr(step.output, f"{name}_logits"), step.labels)
        for name in ("fused", "audio", "visual")
    ]
    torch.testing.assert_close(each.loss, losses[0] + 0.5 * losses[1] + 0.5 * losses[2])
