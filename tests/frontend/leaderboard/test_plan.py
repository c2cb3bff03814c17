"""Which runs a leaderboard needs, and which are the same."""

from __future__ import annotations

import pytest

from frontend.leaderboard.plan import cells_of, identity, methods_of, missing_source, objective_of, reusable, sources_of
from tests.frontend.leaderboard.values import run_of
from worker.contract.errors import InvalidRequestError
from worker.contract.spec import AvDigits, RunSpec

TEACHER = {"type": "string", "x-source": "audio-only"}
OBJECTIVES = {
    "joint": {"schema": {"properties": {"kind": {}}}},
    "distilled": {"schema": {"properties": {"kind": {}, "audio_teacher": TEACHER}}},
    "audio-only": {"schema": {"properties": {"kind": {}}}},
    "other": {"schema": {}},
}


def test_fields_marked_in_the_schema_name_their_source() -> None:
    assert sources_of(OBJECTIVES["distilled"]["schema"]) == {"audio_teacher": "audio-only"}


def test_methods_are_all_of_the_catalog_or_those_wanted_with_sources_and_baseline() -> None:
    assert list(methods_of(OBJECTIVES)) == list(OBJECTIVES)
    assert methods_of(OBJECTIVES, ["distilled"]) == {
        "joint": {},
        "distilled": {"audio_teacher": "audio-only"},
        "audio-only": {},
    }


def test_unknown_method_is_refused_with_the_list() -> None:
    with pytest.raises(InvalidRequestError, match=r"got 'nope'\. There are: joint, distilled"):
        methods_of(OBJECTIVES, ["nope"])


def test_cells_go_seed_by_seed_and_begin_with_methods_that_need_nothing() -> None:
    cells = cells_of(methods_of(OBJECTIVES, ["distilled"]), [0, 1])
    assert [(cell.method, cell.seed) for cell in cells] == [
        ("joint", 0),
        ("audio-only", 0),
        ("distilled", 0),
        ("joint", 1),
        ("audio-only", 1),
        ("distilled", 1),
    ]


def test_same_computation_is_the_same_whatever_it_is_called_and_however_its_data_is_named() -> None:
    spec = RunSpec(dataset=AvDigits(num_test=100))
    assert identity(spec) == identity(spec.model_copy(update={"name": "x", "tags": ("y",)}))
    by_id = RunSpec.model_validate({"dataset": {"id": AvDigits(num_test=100).dataset_id()}})
    assert identity(spec) == identity(by_id)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"epochs": 21},
        {"threads": 1},
        {"objective": {"kind": "multi-head"}},
        {"objective": {"kind": "joint", "gaps": "clean"}},
        {"dataset": {"kind": "av-digits"}},
        {"dataset": {"kind": "av-digits", "num_test": 100, "protocol": "paper"}},
    ],
)
def test_another_setting_is_another_run(changes: dict[str, object]) -> None:
    base: dict[str, object] = {"dataset": {"kind": "av-digits", "num_test": 100}}
    assert identity(RunSpec.model_validate(base | changes)) != identity(RunSpec.model_validate(base))


def test_newest_finished_run_stands_for_its_spec_else_one_under_way_never_a_failed_one() -> None:
    day = "2026-11-24T1{}:00:00Z"
    runs = [
        run_of("failed", "failed", created_at=day.format(9)),
        run_of("queued", "queued", created_at=day.format(8)),
        run_of("old", created_at=day.format(0)),
        run_of("new", created_at=day.format(1)),
    ]
    assert [run.id for run in reusable(runs).values()] == ["new"]
    assert [run.id for run in reusable(runs[:2]).values()] == ["queued"]
    assert reusable(runs[:1]) == {}


def test_method_gets_the_finished_run_of_its_source_of_the_same_seed() -> None:
    cells = cells_of(methods_of(OBJECTIVES, ["distilled"]), [0, 1])
    distilled, source, other_seed = cells[2], cells[1], cells[4]
    other_seed.run = run_of("run-other")
    source.run = run_of("run-7", "running")
    assert objective_of(distilled, cells) is None
    source.run = run_of("run-7")
    assert objective_of(distilled, cells) == {"kind": "distilled", "audio_teacher": "run-7"}
    assert missing_source(distilled, cells) is None


def test_method_whose_source_failed_says_so() -> None:
    cells = cells_of(methods_of(OBJECTIVES, ["distilled"]), [0])
    cells[1].failure = "it was cancelled"
    assert objective_of(cells[2], cells) is None
    assert missing_source(cells[2], cells) == "it needs audio-only of seed 0, which has no finished run"
