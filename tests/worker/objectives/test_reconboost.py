"""ReconBoost."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.worker.objectives.linear_batch import NUM_CLASSES, Batch
from worker.contract.spec.objectives.alternating import ReconBoost as ReconBoostSpec
from worker.objectives.base import EpochView
from worker.objectives.reconboost import ReconBoost, phase_of, residual_weights

FIELDS = {
    "own_weight": 5.0,
    "residual_weight": 1.0,
    "agreement": 0.5,
    "rate": 0.8,
    "stage_epochs": 1,
    "rectify_epochs": 1,
    "num_hidden": NUM_CLASSES,
}
AUDIO_FIRST, RECTIFY, VISUAL, AUDIO_AGAIN = 1, 2, 3, 5


def test_stages_alternate_and_each_is_followed_by_rectification():
    found = [phase_of(epoch, 2, 1) for epoch in range(1, 8)]
    assert found == [
        (0, "audio", True),
        (0, "audio", False),
        (0, "rectification", True),
        (1, "visual", True),
        (1, "visual", False),
        (1, "rectification", True),
        (2, "audio", True),
    ]
    assert [phase_of(epoch, 1, 0)[1] for epoch in (1, 2, 3)] == ["audio", "visual", "audio"]


def test_the_optimizer_begins_anew_with_each_phase_and_the_plan_says_which():
    objective = Batch(ReconBoost(**{**FIELDS, "stage_epochs": 2})).objective
    plans = [objective.plan_epoch(EpochView(epoch, np.arange(4), None, None)) for epoch in (1, 2, 3, 4)]
    assert [plan.fresh_optimizer for plan in plans] == [True, False, True, True]
    assert [plan.method["in_turn"] for plan in plans] == ["audio", "audio", "rectification", "visual"]
    assert plans[0].method["rate"] == pytest.approx(0.8)


def test_the_weights_by_hand():
    found = residual_weights(torch.tensor([0.0, 0.25, 1.0]), 5.0, 1.0, num_classes=4)
    assert found.tolist() == pytest.approx([5 / 4, 4.75 / 4, 1.0])


@pytest.mark.parametrize(("epoch", "own", "other"), [(VISUAL, "visual", "audio"), (AUDIO_AGAIN, "audio", "visual")])
def test_the_loss_of_a_stage_is_that_of_the_formula(epoch, own, other):
    batch = Batch(ReconBoost(**FIELDS))
    batch.commits(epoch)
    output = batch.view().output
    logits = {"audio": output.audio_logits.detach(), "visual": output.visual_logits.detach()}
    q = (0.8 * logits[other]).softmax(dim=1)[torch.arange(len(batch.labels)), batch.labels]
    losses = -logits[own].log_softmax(dim=1)[torch.arange(len(batch.labels)), batch.labels]
    difference = logits[own].softmax(dim=1) - logits[other].softmax(dim=1)
    assert batch.terms[own] == pytest.approx(float(((5 - q) * losses).mean() / NUM_CLASSES), rel=1e-5)
    assert batch.terms["agreement"] == pytest.approx(0.5 * float(difference.square().mean()), rel=1e-5)


def test_the_first_stage_has_no_other_modality_yet():
    batch = Batch(ReconBoost(**FIELDS))
    batch.commits(AUDIO_FIRST)
    assert set(batch.terms) == {"audio"}
    assert batch.coefficients["residual_weight"] == pytest.approx((5 - 1 / NUM_CLASSES) / NUM_CLASSES)


@pytest.mark.parametrize(("epoch", "own"), [(VISUAL, "visual"), (AUDIO_AGAIN, "audio")])
def test_every_term_reaches_the_modality_in_turn_and_nothing_the_other(epoch, own):
    batch = Batch(ReconBoost(**FIELDS))
    (each,) = batch.objective.passes(batch.view(epoch))
    torch.testing.assert_close(sum(each.terms.values()), each.loss)
    pair = batch.model.encoders
    leaves = {"audio": pair.audio.weight, "visual": pair.visual.weight, "rate": batch.model.fusion.rate}
    for name, term in each.terms.items():
        found = torch.autograd.grad(term, list(leaves.values()), retain_graph=True, allow_unused=True)
        touched = {leaf for leaf, g in zip(leaves, found, strict=True) if g is not None and g.abs().sum() > 0}
        assert touched == {own}, name


def test_rectification_trains_both_encoders_and_the_rate():
    batch = Batch(ReconBoost(**FIELDS))
    (found,) = batch.commits(RECTIFY)
    pair = batch.model.encoders
    for leaf in (pair.audio.weight, pair.visual.weight, batch.model.fusion.rate):
        assert found[leaf].abs().sum() > 0
    view = batch.view()
    expected = view.cross_entropy(0.8 * (view.output.audio_logits + view.output.visual_logits))
    assert batch.terms == {"fused": pytest.approx(float(expected.detach()))}


def test_what_the_other_modality_predicts_already_weighs_less_whichever_it_is():
    def weight(leader, epoch, advantage=20.0):
        batch = Batch(ReconBoost(**FIELDS), leader, advantage=advantage)
        batch.commits(epoch)
        return batch.coefficients["residual_weight"]

    sure, unsure = weight("audio", VISUAL), weight("visual", VISUAL)
    assert sure == pytest.approx((5 - 1) / NUM_CLASSES, rel=1e-3)
    assert unsure > sure + 0.1
    assert weight("visual", AUDIO_AGAIN) == pytest.approx(sure)
    assert weight("audio", AUDIO_AGAIN) == pytest.approx(unsure)


def test_both_parts_add_up_to_the_fused_logits():
    output = Batch(ReconBoost(**FIELDS)).view().output
    torch.testing.assert_close(sum(output.split_logits), output.fused_logits, rtol=0, atol=1e-6)


def test_a_loss_without_lower_bound_is_refused():
    with pytest.raises(ValidationError, match="must be greater than residual_weight"):
        ReconBoostSpec(own_weight=1.0, residual_weight=1.0)
