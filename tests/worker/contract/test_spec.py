"""Specs refuse what they do not know, and equal choices give equal identities."""

from __future__ import annotations

from typing import ClassVar, Literal

import pytest
from pydantic import ValidationError

from worker.contract.spec import (
    PRESETS,
    AudioOnly,
    AvDigits,
    Concat,
    DatasetReference,
    GmmAdaptive,
    Joint,
    RunSpec,
    apply_preset,
)
from worker.contract.spec.objectives import WindowedSpec
from worker.contract.spec.objectives.base import source_run
from worker.contract.spec.registry import DATASETS, ENCODERS, FUSIONS, OBJECTIVES, OPTIMIZERS, SCHEDULES, register

ALL_KINDS = [
    (kind, spec)
    for registry in (DATASETS, ENCODERS, FUSIONS, OBJECTIVES, OPTIMIZERS, SCHEDULES)
    for kind, spec in registry.items()
]


@pytest.mark.parametrize(("kind", "spec"), ALL_KINDS, ids=[kind for kind, _ in ALL_KINDS])
def test_component_says_what_it_is_and_where_it_is_implemented(kind: str, spec: type) -> None:
    assert spec.model_fields["kind"].default == kind
    assert spec.title
    assert spec.summary.endswith(".")
    assert ":" in spec.implementation
    for name, field in spec.model_fields.items():
        assert name == "kind" or field.description, f"{kind}.{name} has no description"


def test_run_spec_fields_all_have_descriptions() -> None:
    assert [name for name, field in RunSpec.model_fields.items() if not field.description] == []


def test_dataset_is_a_reference_by_id_or_a_spec_by_kind() -> None:
    assert isinstance(RunSpec.model_validate({"dataset": {"id": "mine"}}).dataset, DatasetReference)
    assert isinstance(RunSpec.model_validate({"dataset": {"kind": "av-digits"}}).dataset, AvDigits)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"epochs": 0}, "epochs"),
        ({"objective": {"kind": "nope"}}, "objective"),
        ({"objective": {"kind": "gmm-adaptive", "alpha": float("nan")}}, "alpha"),
        ({"objective": {"kind": "joint", "alpha": 1}}, "alpha"),
        ({"dataset": {"id": "../etc"}}, "id"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_bad_field_is_refused_by_name(change: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RunSpec.model_validate({"dataset": {"kind": "av-digits"}} | change)
    assert any(field in map(str, error["loc"]) for error in caught.value.errors())


def test_round_trip_through_json_keeps_every_choice() -> None:
    spec = RunSpec(dataset=AvDigits(seed=3), objective=GmmAdaptive(alpha=0.5))
    assert RunSpec.model_validate_json(spec.model_dump_json()) == spec


def test_protocol_is_no_part_of_a_datasets_identity_but_preprocessing_is() -> None:
    plain = AvDigits()
    assert plain.dataset_id() == AvDigits(protocol="paper").dataset_id()
    coarser = plain.preprocess.model_copy(update={"num_mels": 16})
    assert plain.dataset_id() != AvDigits(preprocess=coarser).dataset_id()


def test_digit_splits_that_would_share_images_are_refused() -> None:
    with pytest.raises(ValidationError, match="1797 digit images"):
        AvDigits(num_train=1_200, num_validation=400, num_test=600)


def test_preset_override_replaces_the_whole_top_level_key() -> None:
    fields = apply_preset({"preset": "demo", "objective": {"kind": "gmm-adaptive", "alpha": 0.0}, "epochs": 2})
    spec = RunSpec.model_validate(fields)
    assert spec.objective == GmmAdaptive(alpha=0.0)
    assert spec.epochs == 2
    assert spec.batch_size == PRESETS[0].spec.batch_size


def test_unknown_preset_is_named() -> None:
    with pytest.raises(KeyError, match="nope"):
        apply_preset({"preset": "nope"})


def test_demo_presets_differ_in_nothing_but_the_objective() -> None:
    adaptive, joint = (preset.spec.model_dump() for preset in PRESETS[:2])
    assert {key for key in adaptive if adaptive[key] != joint[key]} == {"objective"}


def test_kind_that_is_taken_cannot_be_registered_again() -> None:
    class Impostor(GmmAdaptive):
        pass

    with pytest.raises(ValueError, match="taken"):
        register(Impostor)


@pytest.mark.parametrize("kind", ["folder", "manifest"])
def test_path_holds_no_zero_character(kind: str) -> None:
    with pytest.raises(ValidationError, match="pattern"):
        DATASETS[kind].model_validate({"kind": kind, "path": "/data\x00/clips"})


class NeedsSplit(Joint):
    needs_splitting_fusion: ClassVar[bool] = True


class Opaque(Concat):
    splits: ClassVar[bool] = False


def test_a_method_that_needs_a_splitting_fusion_refuses_another_with_the_reason() -> None:
    spec = RunSpec(dataset=AvDigits())
    with pytest.raises(ValueError, match=r"split exactly.*choose the fusion concat or sum"):
        RunSpec.model_validate({**dict(spec), "objective": NeedsSplit(), "fusion": Opaque()})
    assert RunSpec.model_validate({**dict(spec), "fusion": Opaque()}).fusion == Opaque()


def test_a_method_with_a_fusion_of_its_own_refuses_a_choice_without_effect() -> None:
    with pytest.raises(ValueError, match="brings a fusion of its own"):
        RunSpec.model_validate({**dict(RunSpec(dataset=AvDigits())), "objective": AudioOnly(), "fusion": Opaque()})


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    class Windowed(WindowedSpec):
        kind: Literal["windowed"] = "windowed"

    with pytest.raises(ValidationError, match="must not come before"):
        Windowed(first_epoch=5, last_epoch=4)


def test_a_spec_names_the_earlier_runs_that_it_builds_on() -> None:
    class Taught(Joint):
        teacher: str = source_run("audio-only", "A run.")
        other: str | None = source_run("visual-only", "Another.", required=False)

    assert Taught(teacher="run-abc-0123").source_runs() == {"teacher": "run-abc-0123"}
    with pytest.raises(ValidationError, match="pattern"):
        Taught(teacher="../run")
    assert Taught.model_json_schema()["properties"]["teacher"]["x-source"] == "audio-only"


def test_a_batch_gives_each_process_two_clips_at_least() -> None:
    dataset = DatasetReference(id="d")
    with pytest.raises(ValidationError, match="batch_size is 6 for 4 processes"):
        RunSpec(dataset=dataset, batch_size=6, num_processes=4)
    assert RunSpec(dataset=dataset, batch_size=8, num_processes=4).num_processes == 4
