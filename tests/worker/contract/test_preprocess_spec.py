from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from worker.contract.spec import PREPROCESS_PRESETS, AvDigits, Folder, PreprocessSpec, RunSpec


def test_stores_that_were_made_before_the_presets_keep_their_digest() -> None:
    assert PreprocessSpec().digest() == "588c72c138e3"
    assert AvDigits().dataset_id() == "av-digits-ba32248ce458"


def test_a_document_may_name_a_preset_and_change_parts_of_it() -> None:
    given = {"kind": "folder", "path": "/clips", "preprocess": {"preset": "ogm-ge-crema-d", "num_frames": 3}}
    spec = Folder.model_validate_json(json.dumps(given), strict=True).preprocess
    assert spec == PREPROCESS_PRESETS["ogm-ge-crema-d"].model_copy(update={"num_frames": 3})
    assert PreprocessSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert PreprocessSpec.model_validate_json(spec.canonical_json()).digest() == spec.digest()


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ValidationError, match="preset"):
        PreprocessSpec.model_validate({"preset": "vgg"})


@pytest.mark.parametrize(
    "fields",
    [
        {"audio_crop_s": 5.0},
        {"num_spectrogram_steps": 100},
        {"spectrogram": "kaldi-fbank", "audio_crop_s": 1.0},
        {"audio_crop_s": 0.1, "sample_rate_hz": 4_000},
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PreprocessSpec.model_validate(fields)


def test_augment_is_still_a_switch() -> None:
    spec = RunSpec.model_validate({"dataset": {"kind": "av-digits"}, "augment": False})
    assert spec.augment is False
    assert spec.augmentation.crop == "place"
