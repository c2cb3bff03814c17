"""Runs side by side and in pairs; every number is counted again from the tables."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from backend.pairing import Side, holm, mcnemar, obstacle
from tests.backend.conftest import Filled

SIDE = Side("a", "digest", "clips", "honest", 3, Path("table"))


def rows_of(filled: Filled, run: str, epoch: int = 3, split: str = "validation") -> dict[str, dict[str, Any]]:
    rows = pq.read_table(filled.backend.home.run(run).sample_table(epoch)).to_pylist()
    return {row["sample_id"]: row for row in rows if row["split"] == split}


def group(row: dict[str, Any]) -> str:
    if row["posterior_imbalanced"] is None or row["gap"] is None:
        return "unknown"
    if row["posterior_imbalanced"] < 0.5:
        return "similar"
    return "audio_dominant" if row["gap"] > 0 else "visual_dominant"


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 1), (3, 12), (40, 60), (500, 500)])
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == (pytest.approx(expected), "exact binomial")


def test_mcnemar_of_many_discordant_pairs_is_chi_squared() -> None:
    p_value, test = mcnemar(600, 500)
    assert test == "chi-squared"
    assert p_value == pytest.approx(binomtest(600, 1100).pvalue, rel=0.02)


def test_holm_corrects_in_the_order_given() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"newest": 0}, "has not finished an epoch"),
        ({"newest": 2}, "finished 2 epochs only"),
        ({"dataset": "x", "dataset_id": "other"}, "different data: clips and other"),
        ({"dataset": "x"}, "prepared anew"),
        ({"protocol": "paper"}, "different protocols (honest and paper)"),
        ({"table": None}, "are not kept"),
    ],
)
def test_runs_that_cannot_be_paired_say_why(changes: dict[str, Any], says: str) -> None:
    other = Side(**{**vars(SIDE), "run_id": "b", **changes})
    assert says in str(obstacle(SIDE, other, 3))
    assert obstacle(SIDE, SIDE, 3) is None


def test_comparison_has_curves_one_epoch_differences_and_spread(filled: Filled) -> None:
    runs = filled.runs
    found = filled.backend.get("/compare", runs=",".join([*runs, "deleted"]), epoch=2)
    assert (found["epoch"], found["newest_shared"], found["newest"], found["missing"]) == (2, 3, 3, ["deleted"])
    assert [[point["epoch"] for point in side["curve"]] for side in found["runs"]] == [[1, 2, 3]] * 3
    assert set(found["differing"]) == {"seed", "optimizer.learning_rate"}
    assert found["differing"]["optimizer.learning_rate"][runs[2]] == 0.1
    accuracies = [
        statistics.fmean(row["fused_correct"] for row in rows_of(filled, run, epoch=2).values()) for run in runs[:2]
    ]
    assert [side["at"]["accuracy"]["fused"] for side in found["runs"][:2]] == pytest.approx(accuracies)
    spread = next(item for item in found["spreads"] if len(item["runs"]) == 2)
    assert (spread["seeds"], spread["num_runs"]) == ([0, 1], 2)
    assert spread["mean"]["fused"] == pytest.approx(statistics.fmean(accuracies))
    assert spread["standard_deviation"]["fused"] == pytest.approx(statistics.stdev(accuracies))


def test_an_epoch_that_a_run_has_not_finished_is_null(filled: Filled) -> None:
    found = filled.backend.get("/compare", runs=filled.run, epoch=9)
    assert found["runs"][0]["at"] is None
    assert found["spreads"][0]["num_runs"] == 0


@pytest.mark.parametrize("modality", ["fused", "audio", "visual"])
def test_pairs_are_counted_as_the_tables_have_them(filled: Filled, modality: str) -> None:
    runs = filled.runs
    found = filled.backend.get("/compare/pairs", runs=",".join(runs))
    assert (found["num_tests"], [item["second"] for item in found["items"]]) == (6, runs[1:])
    one, two = rows_of(filled, runs[0]), rows_of(filled, runs[1])
    right = [(one[name][f"{modality}_correct"], two[name][f"{modality}_correct"]) for name in one]
    test = next(test for test in found["items"][0]["tests"] if test["modality"] == modality)
    names = ("both_right", "only_first_right", "only_second_right", "both_wrong")
    cells = ((True, True), (True, False), (False, True), (False, False))
    assert [test[name] for name in names] == [right.count(cell) for cell in cells]
    assert test["p_value"] == pytest.approx(
        binomtest(right.count(cells[1]), right.count(cells[1]) + right.count(cells[2])).pvalue
    )
    assert test["p_holm"] >= test["p_value"]
    same = next(test for test in found["items"][1]["tests"] if test["modality"] == modality)
    assert (same["only_first_right"], same["only_second_right"], same["p_value"]) == (0, 0, 1.0)


@pytest.mark.parametrize("change", ["any", "group", "fused", "audio", "visual"])
def test_changed_samples_come_once_each_by_page(filled: Filled, change: str) -> None:
    first, second = filled.runs[:2]
    one, two = rows_of(filled, first), rows_of(filled, second)
    wanted = set()
    for name in one:
        groups = (group(one[name]), group(two[name]))
        moved = {"group": groups[0] != groups[1] and "unknown" not in groups} | {
            kind: one[name][f"{kind}_correct"] != two[name][f"{kind}_correct"] for kind in ("fused", "audio", "visual")
        }
        if any(moved.values()) if change == "any" else moved[change]:
            wanted.add(name)
    seen: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = filled.backend.get("/compare/changes", first=first, second=second, change=change, limit=7, **cursor)
        assert page["total"] == len(wanted)
        seen += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert len(seen) == len(wanted)
    assert {item["sample_id"] for item in seen} == wanted
    widths = [abs(item["first"]["gap"] - item["second"]["gap"]) for item in seen if item["first"]["gap"] is not None]
    assert widths == sorted(widths, reverse=True)


def test_pairs_that_cannot_be_are_refused(filled: Filled) -> None:
    run = filled.run
    http = filled.backend.http
    answer = http.get("/compare/changes", params={"first": run, "second": filled.runs[1], "epoch": 9})
    assert "finished 3 epochs only" in filled.backend.problem(answer, 409, "runs-not-comparable")["detail"]
    filled.backend.problem(http.get("/compare/pairs", params={"runs": f"gone,{run}"}), 404, "run-not-found")
    reason = filled.backend.get("/compare/pairs", runs=",".join(filled.runs), epoch=9)["items"][0]["reason"]
    assert "finished 3 epochs only" in reason
