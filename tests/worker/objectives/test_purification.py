"""Stage 3 of gmm-adaptive: what it selects, what it trains, when it refuses, and that it resumes exactly."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.worker.memory_store import run_spec
from tests.worker.objectives import harness
from tests.worker.objectives.stepping import set_up, step_on, tiny_model
from tests.worker.objectives.test_every_method import assert_same
from worker.contract.errors import TrainingError
from worker.contract.spec import GmmAdaptive
from worker.contract.spec.objectives.paper import num_purification_epochs
from worker.engine.assembly import Assembly
from worker.engine.evaluate import posteriors
from worker.engine.steps import EpochDone
from worker.engine.train import Trainer
from worker.objectives import gmm_adaptive
from worker.objectives.base import EpochView
from worker.objectives.purification import Purification
from worker.science.mixture import fit_mixtures

EPOCHS, FIRST = 4, 3
"""One epoch of stage 1, one of stage 2, two of stage 3."""
TWO_GROUPS = np.concatenate([np.linspace(-0.05, 0.05, 20), np.linspace(0.8, 0.9, 12)]).astype(np.float32)


def spec(**fields: Any) -> GmmAdaptive:
    return GmmAdaptive(
        **{
            "warm_up_epochs": 1,
            "purification": True,
            "purification_epochs": 2,
            "purification_threshold": 0.9,
            **fields,
        }
    )


def parts(**fields: Any) -> Assembly:
    return harness.parts_of(spec(**fields), epochs=EPOCHS)


@functools.cache
def whole_run() -> tuple[list[EpochDone], object]:
    epochs, done = harness.finish(Trainer(parts()))
    return epochs, done.result


def test_stages_follow_each_other_and_the_learning_rate_falls_to_a_tenth():
    epochs, _ = whole_run()
    assert [epoch.event.stage for epoch in epochs] == ["warm-up", "adaptive", "purification", "purification"]
    plain, _ = harness.finish(Trainer(harness.parts_of(GmmAdaptive(warm_up_epochs=1), epochs=EPOCHS)))
    for own, other in zip(epochs[2:], plain[2:], strict=True):
        assert own.event.learning_rate == pytest.approx(0.1 * other.event.learning_rate)
    for own, other in zip(epochs[:2], plain[:2], strict=True):
        for name, tensor in harness.weights(own.snapshot).items():
            assert torch.equal(tensor, harness.weights(other.snapshot)[name]), name


def test_three_steps_give_other_weights_than_the_adaptive_loss_at_the_same_learning_rate():
    own, plain = (
        harness.snapshot_at(harness.parts_of(objective, epochs=EPOCHS), FIRST, 3)
        for objective in (spec(purification_threshold=1.0), GmmAdaptive(warm_up_epochs=1))
    )
    before = harness.trained_weights(whole_run()[0][1].snapshot)
    moved, moved_plain = (harness.trained_weights(each) - before for each in (own, plain))
    assert (moved - moved_plain).abs().max() > 1e-6
    assert (moved - 0.1 * moved_plain).abs().max() > 1e-7, "only the learning rate differs"


def test_it_trains_on_the_samples_below_tau_by_the_last_adaptive_epoch_alone():
    epochs, _ = whole_run()
    train = harness.store().indices("train")
    last = epochs[1]
    posterior = last.posteriors[train]
    expected = int((posterior < 0.9).sum())
    assert 0 < expected < len(train), "the threshold tells samples apart"
    for epoch in epochs[2:]:
        assert epoch.event.method["num_selected"] == expected
        assert epoch.event.cost.samples == expected
        assert list(epoch.event.loss_terms) == ["fused"]
        kept = epoch.snapshot.tensors["objective.purification_posterior"].numpy()
        np.testing.assert_array_equal(kept, posterior)


def test_no_training_sample_is_dropped_from_its_reports():
    for epoch in whole_run()[0]:
        report = epoch.event.train
        assert report.num_samples == len(harness.store().indices("train"))
        assert sum(report.histogram.counts) == report.num_samples


def test_wrong_samples_with_similar_scores_are_counted_and_can_be_left_out():
    correct = np.array([True] * 15 + [False] * 8 + [True] * 9)
    found = []
    for drop_wrong in (False, True):
        objective = gmm_adaptive.GmmAdaptive(
            **spec(purification_drop_wrong=drop_wrong).model_dump(exclude={"kind", "gaps"})
        )
        set_up(objective, tiny_model(objective), epochs=EPOCHS, batch_size=4)
        found.append(objective.plan_epoch(view(TWO_GROUPS, correct)))
    counted, left_out = found
    assert counted.method["num_similar_wrong"] == left_out.method["num_similar_wrong"] == 5
    assert (counted.method["num_selected"], left_out.method["num_selected"]) == (20, 15)
    assert left_out.rows.tolist() == list(range(15))


def test_the_event_of_a_run_counts_wrong_samples_as_its_sample_table_does():
    epochs, _ = whole_run()
    train = harness.store().indices("train")
    table = epochs[1].columns
    similar = (epochs[1].posteriors[train] < 0.9) & ~table["fused_correct"][np.isin(epochs[1].rows, train)]
    assert epochs[2].event.method["num_similar_wrong"] == int(similar.sum()) > 0


@pytest.mark.parametrize(("epoch", "step"), [(FIRST, 1), (FIRST, 2), (FIRST + 1, 1)])
def test_a_run_killed_within_the_stage_goes_on_to_the_bit(epoch, step):
    whole, result = whole_run()
    snapshot = harness.snapshot_at(parts(), epoch, step)
    resumed, done = harness.finish(Trainer.from_snapshot(parts(), snapshot))
    assert_same(whole[epoch - 1 :], resumed)
    assert done.result == result


@pytest.mark.parametrize("epoch", [FIRST - 1, FIRST])
def test_a_run_killed_between_its_epochs_goes_on_to_the_bit(epoch):
    whole, result = whole_run()
    resumed, done = harness.finish(Trainer.from_snapshot(parts(), whole[epoch - 1].snapshot))
    assert_same(whole[epoch:], resumed)
    assert done.result == result


def test_its_loss_is_the_fused_cross_entropy_and_reaches_no_head():
    objective = gmm_adaptive.GmmAdaptive(**spec().model_dump(exclude={"kind", "gaps"}))
    model = tiny_model(objective)
    set_up(objective, model, epochs=EPOCHS, batch_size=4)
    objective.plan_epoch(view(np.linspace(-0.05, 0.9, 32, dtype=np.float32)))
    step = step_on(model, audio=2.0, visual=0.5)
    (single,) = objective.passes(step)
    expected = torch.nn.functional.cross_entropy(step.output.fused_logits, step.labels)
    assert torch.equal(single.loss, expected)
    single.loss.backward()
    assert all(parameter.grad is None for parameter in model.heads.parameters())
    assert all(part.weight.grad.abs().sum() > 0 for part in (model.encoders.audio, model.encoders.visual))


def test_the_selection_stays_when_the_gaps_change():
    objective = gmm_adaptive.GmmAdaptive(**spec().model_dump(exclude={"kind", "gaps"}))
    set_up(objective, tiny_model(objective), epochs=EPOCHS, batch_size=4)
    gaps = TWO_GROUPS
    first = objective.plan_epoch(view(gaps))
    second = objective.plan_epoch(view(gaps[::-1].copy()))
    assert first.rows.tolist() == second.rows.tolist() == list(range(20))
    mixture = fit_mixtures(gaps.astype(np.float64), seed=0).paper.parameters
    np.testing.assert_array_equal(first.rows, np.flatnonzero(posteriors(gaps, mixture) < 0.9))


def view(gaps: np.ndarray, correct: np.ndarray | None = None) -> EpochView:
    rows = np.arange(len(gaps))
    return EpochView(
        FIRST,
        rows,
        gaps,
        fit_mixtures(gaps.astype(np.float64), seed=0),
        labels=rows % 4,
        correct=np.ones(len(gaps), dtype=bool) if correct is None else correct,
    )


def selection(posterior: list[float], **fields: Any) -> Purification:
    given = {"correct": np.ones(len(posterior), dtype=bool), "threshold": 0.5, "drop_wrong": False, **fields}
    return Purification(np.array(posterior, dtype=np.float32), **given)


def test_a_vanished_class_is_refused_with_the_reason():
    chosen = selection([0.1] * 10 + [0.9] * 2)
    with pytest.raises(TrainingError, match=r"1 of 3 classes have none \(labels 2\)") as refusal:
        chosen.require_trainable(np.array([0, 1] * 5 + [2, 2]), 4)
    assert refusal.value.code == "purification-class-vanishes"


def test_a_class_that_had_no_training_clip_is_not_missed():
    selection([0.1] * 10).require_trainable(np.array([0, 3] * 5), 4)


@pytest.mark.parametrize(("size", "refused"), [(5, True), (6, False)])
def test_fewer_than_two_batches_are_refused_with_the_reason(size, refused):
    chosen = selection([0.1] * size + [0.9] * 4)
    labels = np.arange(size + 4) % 2
    if not refused:
        chosen.require_trainable(labels, 4)
        return
    with pytest.raises(TrainingError, match="fewer than 2 batches of 4") as refusal:
        chosen.require_trainable(labels, 4)
    assert refusal.value.code == "purification-too-few"


def test_leaving_out_wrong_ones_may_be_what_is_refused():
    correct = np.array([True] * 8 + [False] * 2)
    labels = np.array([0, 1] * 4 + [2, 2])
    selection([0.1] * 10, correct=correct).require_trainable(labels, 4)
    with pytest.raises(TrainingError, match="wrong ones left out"):
        selection([0.1] * 10, correct=correct, drop_wrong=True).require_trainable(labels, 4)


def test_a_run_that_selects_too_little_ends_with_the_reason():
    with pytest.raises(TrainingError, match="Stage 3 selects"):
        harness.finish(Trainer(parts(purification_threshold=1e-6)))


@pytest.mark.parametrize(("epochs", "expected"), [(1, 1), (9, 1), (20, 2), (25, 2), (100, 10)])
def test_by_default_it_takes_a_tenth_of_the_epochs(epochs, expected):
    assert num_purification_epochs(epochs, None) == expected


@pytest.mark.parametrize(
    ("epochs", "fields"),
    [(1, {"warm_up_epochs": 0}), (3, {"warm_up_epochs": 1}), (20, {"warm_up_epochs": 19, "purification_epochs": None})],
)
def test_a_spec_that_leaves_no_adaptive_epoch_is_refused(epochs, fields):
    with pytest.raises(ValidationError, match="leave none of"):
        run_spec(objective=spec(**fields), epochs=epochs)
    run_spec(objective=spec(**{**fields, "purification": False}), epochs=epochs)
