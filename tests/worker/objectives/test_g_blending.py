from dataclasses import dataclass

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.worker.objectives.stepping import set_up, step_on, tiny_model
from worker.contract.errors import TrainingError
from worker.contract.spec.objectives.losses import GBlending as GBlendingSpec
from worker.objectives.base import EpochView
from worker.objectives.g_blending import GBlending, Losses, blending_ratio

RUNS = {"fused_run": "run-a-1", "audio_run": "run-b-1", "visual_run": "run-c-1"}


@dataclass
class Curve:
    """An earlier run by its losses: (train, validation) of each epoch."""

    run_id: str
    losses: list[tuple[float, float]]
    modalities: tuple[str, ...]
    num_audio_features: int = 4
    num_visual_features: int = 4

    @property
    def num_epochs(self):
        return len(self.losses)

    def cross_entropy(self, epoch, split):
        return self.losses[epoch - 1][("train", "validation").index(split)]


USED = {"fused_run": ("audio", "visual"), "audio_run": ("audio",), "visual_run": ("visual",)}


def weights(fused, audio, visual, used=USED, **fields):
    objective = GBlending(**GBlendingSpec(**RUNS, **fields).model_dump(exclude={"kind", "gaps"}))
    curves = {"fused_run": fused, "audio_run": audio, "visual_run": visual}
    sources = {name: Curve(RUNS[name], losses, used[name]) for name, losses in curves.items()}
    set_up(objective, tiny_model(objective), sources=sources)
    return objective.plan_epoch(EpochView(1, np.arange(4), None, None)).method


OVERFITTING = [(2.0, 2.0), (0.2, 1.5)]
SOUND = [(2.0, 2.0), (1.3, 1.5)]
WORSE = [(2.0, 2.0), (1.0, 2.5)]


def test_the_ratio_by_hand():
    ratio = blending_ratio(Losses(2.0, 2.1), Losses(1.0, 1.6), epsilon=0.01)
    assert ratio == pytest.approx(0.5 / (0.5**2 + 0.01))
    assert blending_ratio(Losses(2.0, 2.0), Losses(1.0, 2.5), epsilon=0.01) == 0
    assert blending_ratio(Losses(2.0, 2.0), Losses(1.5, 1.5), epsilon=0.01) == pytest.approx(50)


def test_the_weights_sum_to_one_and_favour_what_generalises():
    found = weights(OVERFITTING, SOUND, WORSE)
    ratios = [0.5 / (1.3**2 + 1e-3), 0.5 / (0.2**2 + 1e-3)]
    assert found["fused_weight"] == pytest.approx(ratios[0] / sum(ratios))
    assert found["audio_weight"] == pytest.approx(ratios[1] / sum(ratios))
    assert found["visual_weight"] == 0
    assert (found["measured_from_epoch"], found["measured_to_epoch"]) == (1, 2)


def test_swapping_the_modalities_swaps_the_weights():
    first, second = weights(SOUND, OVERFITTING, SOUND), weights(SOUND, SOUND, OVERFITTING)
    assert first["audio_weight"] == second["visual_weight"] < first["visual_weight"] == second["audio_weight"]


def test_measuring_ends_with_the_shortest_run_or_where_it_is_told_to():
    long = [(2.0, 2.0), (1.5, 1.6), (1.0, 1.5)]
    assert weights(long, SOUND, long)["measured_to_epoch"] == 2
    assert weights(long, long, long, from_epoch=2, num_epochs=1)["measured_to_epoch"] == 3


def test_runs_that_tell_nothing_are_refused():
    with pytest.raises(TrainingError, match="In none of the runs run-a-1, run-b-1, run-c-1"):
        weights(WORSE, WORSE, WORSE)
    with pytest.raises(TrainingError, match="run-b-1 has 1 epochs"):
        weights(SOUND, SOUND[:1], SOUND)


def test_a_fused_run_that_does_not_generalise_is_refused_for_nothing_would_train_the_fusion():
    with pytest.raises(TrainingError, match=r"run-a-1 .fused_run. does not fall from epoch 1 to 2"):
        weights(WORSE, SOUND, SOUND)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"audio_run": ("visual",)}, "run-b-1 .audio_run. was trained on visual, .* that of audio alone"),
        ({"visual_run": ("audio", "visual")}, "run-c-1 .visual_run. was trained on audio and visual"),
        ({"fused_run": ("audio",)}, "run-a-1 .fused_run. was trained on audio, .* of audio and visual"),
    ],
)
def test_a_run_on_other_modalities_than_its_weight_is_for_is_refused(changed, message):
    with pytest.raises(TrainingError, match=message):
        weights(SOUND, SOUND, SOUND, {**USED, **changed})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"fused_run": "run-a-1"},
        {"fused_weight": 1.0, "audio_weight": 1.0},
        {**RUNS, "fused_weight": 1.0, "audio_weight": 1.0, "visual_weight": 1.0},
    ],
)
def test_either_three_runs_or_three_weights_are_needed(fields):
    with pytest.raises(ValidationError):
        GBlendingSpec(**fields)


def test_given_weights_are_used_as_they_are():
    spec = GBlendingSpec(fused_weight=1.0, audio_weight=0.0, visual_weight=2.0)
    objective = GBlending(**spec.model_dump(exclude={"kind", "gaps"}))
    set_up(objective, tiny_model(objective))
    assert objective.plan_epoch(EpochView(1, np.arange(4), None, None)).method == {
        "fused_weight": 1.0,
        "audio_weight": 0.0,
        "visual_weight": 2.0,
    }


def test_the_loss_is_blended_by_these_weights():
    spec = GBlendingSpec(fused_weight=0.5, audio_weight=3.0, visual_weight=0.25)
    objective = GBlending(**spec.model_dump(exclude={"kind", "gaps"}))
    set_up(objective, model := tiny_model(objective))
    (each,) = objective.passes(step_on(model, audio=2.0))
    torch.testing.assert_close(
        each.loss, 0.5 * each.terms["fused"] + 3.0 * each.terms["audio"] + 0.25 * each.terms["visual"]
    )
