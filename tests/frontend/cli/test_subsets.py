"""`gapscope subsets`, and the client's calls behind it."""

from __future__ import annotations

import json

from tests.frontend.cli.conftest import Run
from tests.frontend.client.fake_api import Answer, FakeApi, Request
from tests.frontend.ui.recorded import subset

VALUE = subset().model_dump(mode="json")


def test_subsets_are_listed_as_a_table_or_json(api: FakeApi, gapscope: Run) -> None:
    api.answer = lambda _: Answer({"items": [VALUE], "next": None})
    table = gapscope("subsets", "--run", "run-1").stdout
    assert "subset-1-a" in table
    assert "120" in table
    assert api.requests[-1].query["run"] == "run-1"
    assert json.loads(gapscope("subsets", "--json").stdout) == [VALUE]


def test_none_yet_says_how_to_save_one(api: FakeApi, gapscope: Run) -> None:
    api.answer = lambda _: Answer({"items": [], "next": None})
    result = gapscope("subsets")
    assert "gapscope subsets save" in result.stderr
    assert result.stdout == ""


def test_a_filter_is_saved_as_given(api: FakeApi, gapscope: Run) -> None:
    api.answer = lambda _: Answer(VALUE, 201)
    result = gapscope(
        "subsets", "save", "run-1", "similar", "--max-posterior", "0.5", "--fused-correct", "--epoch", "3"
    )
    assert result.stdout.startswith("subset-1-a 120 samples of epoch 4")
    assert json.loads(api.requests[-1].body) == {
        "name": "similar",
        "run_id": "run-1",
        "epoch": 3,
        "filter": {"max_posterior": 0.5, "fused_correct": True},
    }


def test_samples_are_saved_one_by_one(api: FakeApi, gapscope: Run) -> None:
    api.answer = lambda _: Answer(VALUE, 201)
    gapscope("subsets", "save", "run-1", "two", "--sample", "a", "--sample", "b", "--json")
    assert json.loads(api.requests[-1].body)["sample_ids"] == ["a", "b"]
    assert gapscope("subsets", "save", "run-1", "two", "--sample", "a", "--label", "cat").exit_code == 2


def test_samples_are_printed_over_all_pages(api: FakeApi, gapscope: Run) -> None:
    def answer(request: Request) -> Answer:
        second = "cursor" in request.query
        return Answer({"items": ["c"] if second else ["a", "b"], "next": None if second else "more"})

    api.answer = answer
    assert gapscope("subsets", "samples", "subset-1-a").stdout.split() == ["a", "b", "c"]


def test_subsets_are_deleted(api: FakeApi, gapscope: Run) -> None:
    api.answer = lambda _: Answer({"id": "x"})
    assert gapscope("subsets", "delete", "subset-1-a", "subset-1-b").exit_code == 0
    assert [(one.method, one.path) for one in api.requests] == [
        ("DELETE", "/subsets/subset-1-a"),
        ("DELETE", "/subsets/subset-1-b"),
    ]
