from __future__ import annotations

from typing import Any

import pytest

from frontend.ui.schema import MISSING, Field, initial, label_of, message, paths, place, place_all, read, seeds_of
from tests.frontend.ui.recorded import catalog
from worker.contract.errors import FieldProblem
from worker.contract.spec import RunSpec


@pytest.fixture
def fields() -> dict[str, Field]:
    return {item.name: item for item in read(catalog()["run_schema"])}


def test_every_field_of_a_run_can_be_drawn(fields: dict[str, Field]) -> None:
    assert set(fields) == set(RunSpec.model_fields)


def test_bounds_help_and_defaults_come_from_the_schema(fields: dict[str, Field]) -> None:
    epochs = fields["epochs"]
    assert (epochs.kind, epochs.minimum, epochs.maximum, epochs.default) == ("integer", 1, 10_000, 20)
    assert epochs.help == "Passes over the training split."
    assert fields["precision"].options == ("auto", "fp32", "bf16")
    assert fields["augment"].kind == "toggle"
    assert fields["tags"].kind == "tags"


def test_nullable_numbers_may_stay_empty(fields: dict[str, Field]) -> None:
    threads = fields["threads"]
    assert threads.nullable
    assert (threads.kind, threads.minimum, threads.maximum) == ("integer", 1, 256)
    assert initial(threads, MISSING) is None


def test_a_choice_that_may_stay_empty_begins_with_none(fields: dict[str, Field]) -> None:
    folder = fields["dataset"].variants["folder"]
    preprocess = next(item for item in folder.fields if item.name == "preprocess")
    preset = next(item for item in preprocess.fields if item.name == "preset")
    assert preset.kind == "choice"
    assert preset.options[0] is None
    assert "ogm-ge-crema-d" in preset.options
    assert initial(preset, MISSING) is None


def test_unions_by_kind_become_variants(fields: dict[str, Field]) -> None:
    objective = fields["objective"]
    assert {"joint", "multi-head", "gmm-adaptive"} <= set(objective.variants)
    adaptive = objective.variants["gmm-adaptive"]
    assert adaptive.fixed == {"kind": "gmm-adaptive"}
    assert "objective.alpha" in [item.path for item in adaptive.fields]


def test_paths_that_may_stay_empty_and_choices_of_a_modality_can_be_drawn(fields: dict[str, Field]) -> None:
    backbone = {item.name: item for item in fields["encoder"].variants["torchvision"].fields}
    assert next(iter(backbone)) == "name"
    weights = backbone["audio_weights"]
    assert (weights.kind, weights.nullable, weights.default, weights.max_length) == ("text", True, None, 4_096)
    assert "nothing is ever downloaded" in weights.help
    [film_by] = fields["fusion"].variants["film"].fields
    assert (film_by.kind, film_by.options) == ("choice", ("audio", "visual"))
    [root, _] = fields["encoder"].variants["precomputed"].fields
    assert root.required


def test_a_dataset_is_a_reference_or_a_spec(fields: dict[str, Field]) -> None:
    assert {"reference", "av-digits", "folder", "manifest"} <= set(fields["dataset"].variants)
    assert [item.name for item in fields["dataset"].variants["reference"].fields] == ["id", "protocol"]


def test_a_single_component_is_a_variant_too(fields: dict[str, Field]) -> None:
    assert fields["fusion"].kind == "variant"
    assert "concat" in fields["fusion"].variants


def test_every_dataset_can_be_registered_by_form() -> None:
    for kind, entry in catalog()["datasets"].items():
        names = {item.name for item in read(entry["schema"])}
        assert "protocol" in names, kind


def test_what_cannot_be_drawn_says_where() -> None:
    with pytest.raises(ValueError, match="odd: expected a type that the form draws"):
        read({"properties": {"odd": {"type": "null"}}})


def test_labels_spell_out_units() -> None:
    assert label_of("duration_s") == "Duration (seconds)"
    assert label_of("sample_rate_hz") == "Sample rate (Hz)"
    assert label_of("batch_size") == "Batch size"
    assert label_of("num_time_masks") == "Time masks"


def test_warm_up_of_the_learning_rate_is_not_called_a_stage() -> None:
    assert label_of("warm_up_epochs") == "Warm-up epochs"


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ("objective.alpha", "objective.alpha"),
        ("body.objective.gmm-adaptive.alpha", "objective.alpha"),
        ("dataset.spec.av-digits.num_train", "dataset.num_train"),
        ("dataset.spec.av-digits", "dataset"),
        ("tags[0]", "tags"),
        ("nonsense", None),
    ],
)
def test_messages_find_their_field(reported: str, expected: str | None, fields: dict[str, Field]) -> None:
    assert place(reported, paths(fields.values())) == expected


def test_problems_without_a_field_are_kept(fields: dict[str, Field]) -> None:
    def fault(field: str, got: str = "-1") -> FieldProblem:
        return FieldProblem(field=field, expected="at least 1", got=got, remedy="Raise it.")

    placed, rest = place_all([fault("epochs"), fault("elsewhere")], fields.values())
    assert placed == {"epochs": "Expected at least 1, got -1. Raise it."}
    assert [one.field for one in rest] == ["elsewhere"]
    assert message(fault("dataset", "{'kind': 'x'}")) == "At least 1."


def test_messages_name_fields_by_their_labels_and_leave_data_alone(fields: dict[str, Field]) -> None:
    fault = FieldProblem(
        field="objective.warm_up_epochs", expected="warm_up_epochs is 9 in my_data", got="{'epochs': 3}", remedy="x"
    )
    assert place_all([fault], fields.values())[0] == {"objective.warm_up_epochs": "Warm-up epochs is 9 in my_data."}


def test_seeds_are_lists_and_ranges() -> None:
    assert seeds_of("0, 2, 4-6, 5") == [0, 2, 4, 5, 6]
    for wrong in ("", "a", "5-", "0-99", "-1"):
        with pytest.raises(ValueError, match="seeds"):
            seeds_of(wrong)


def test_initial_values_are_legal(fields: dict[str, Field]) -> None:
    def check(item: Field) -> None:
        value: Any = initial(item, MISSING)
        if item.kind in {"integer", "number"} and value is not None:
            assert item.minimum is None or value >= item.minimum
        for inner in (*item.fields, *(field for one in item.variants.values() for field in one.fields)):
            check(inner)

    for item in fields.values():
        check(item)
