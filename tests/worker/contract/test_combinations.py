"""Combinations in which a method would do nothing, or fail after it was queued, are refused as the request comes in."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from worker.contract.spec import RunSpec

FEATURES = {"kind": "precomputed", "features_root": "/features"}
NO_WEIGHTS = {**FEATURES, "num_hidden": 0}
TEACHERS = {"audio_teacher": "run-a-1", "visual_teacher": "run-b-1"}


def spec(objective: dict[str, Any], **fields: Any) -> RunSpec:
    return RunSpec.model_validate({"dataset": {"id": "d"}, "objective": objective, **fields})


@pytest.mark.parametrize(
    "objective",
    [
        {"kind": "ogm"},
        {"kind": "ogm-ge"},
        {"kind": "mmpareto"},
        {"kind": "inforeg"},
        {"kind": "arl"},
        {"kind": "pmr"},
        {"kind": "relearning"},
        {"kind": "umt", **TEACHERS},
        {"kind": "g2d", **TEACHERS},
    ],
    ids=lambda objective: objective["kind"],
)
def test_a_method_that_acts_on_encoders_needs_encoders_with_weights(objective: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"acts on the weights of the encoders.*set num_hidden above 0"):
        spec(objective, encoder=NO_WEIGHTS)
    assert spec(objective, encoder=FEATURES).encoder.learns


@pytest.mark.parametrize("kind", ["joint", "multi-head", "agm", "audio-only", "gmm-adaptive", "opm", "mla"])
def test_other_methods_train_the_fusion_on_features_as_they_are(kind: str) -> None:
    assert not spec({"kind": kind}, encoder=NO_WEIGHTS).encoder.learns


def test_convolutions_are_modulated_only_where_there_are_some() -> None:
    with pytest.raises(ValidationError, match=r"no convolution.*set tensors to weights"):
        spec({"kind": "ogm", "tensors": "conv"}, encoder=FEATURES)
    assert spec({"kind": "ogm", "tensors": "conv"})


@pytest.mark.parametrize(
    ("objective", "too_few", "enough"),
    [
        ({"kind": "opm"}, 6, 7),
        ({"kind": "sample-valuation"}, 5, 6),
        ({"kind": "modality-valuation"}, 5, 6),
        ({"kind": "ogm", "first_epoch": 4}, 3, 4),
        ({"kind": "arl"}, 6, 7),
        ({"kind": "arl", "first_epoch": 3, "warm_up_epochs": 2}, 4, 5),
        ({"kind": "relearning"}, 1, 2),
        ({"kind": "relearning", "every_epochs": 4}, 4, 5),
        ({"kind": "reconboost"}, 11, 12),
        ({"kind": "reconboost", "stage_epochs": 1, "rectify_epochs": 0}, 1, 2),
        ({"kind": "modality-dropout", "warm_up_epochs": 3}, 3, 4),
        ({"kind": "gmm-masking", "warm_up_epochs": 3}, 3, 4),
        ({"kind": "gmm-masking"}, 1, 2),
        ({"kind": "gmm-adaptive", "warm_up_epochs": 3}, 2, 3),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
def test_a_run_too_short_for_its_method_is_refused(objective: dict[str, Any], too_few: int, enough: int) -> None:
    with pytest.raises(ValidationError, match="raise epochs"):
        spec(objective, epochs=too_few)
    assert spec(objective, epochs=enough).epochs == enough


def test_a_window_that_ends_in_the_warm_up_is_refused() -> None:
    with pytest.raises(ValidationError, match="its last epoch is 6"):
        spec({"kind": "arl", "last_epoch": 6})


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"kind": "fixed-blend", "fused_weight": 0}, "greater than 0"),
        ({"kind": "g-blending", "fused_weight": 0, "audio_weight": 1, "visual_weight": 1}, "greater than 0"),
        ({"kind": "g2d", **TEACHERS, "fused_weight": 0, "logit_weight": 0}, "nothing would train the fused"),
        ({"kind": "pmr", "entropy_weight": 0.1, "first_epoch": 6}, "entropy_weight has no effect"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
def test_weights_that_train_nothing_are_refused(objective: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(objective)
