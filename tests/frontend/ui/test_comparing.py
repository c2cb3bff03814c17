"""The Compare page: its tables, and what it says."""

from __future__ import annotations

import math
from typing import Any

import pytest

from frontend.ui import comparing
from frontend.ui.charts import compare as charts
from frontend.ui.comparing import Side
from frontend.ui.panels.pairs import named
from tests.frontend.ui.conftest import Open, texts
from tests.frontend.ui.recorded import RecordedApi, report, run
from worker.contract.resources import Run, RunProgress
from worker.contract.subsets import Origin


def seeded(run_id: str, seed: int, **changes: Any) -> Run:
    made = run(run_id, **changes)
    return made.model_copy(update={"spec": made.spec.model_copy(update={"seed": seed})})


def side(made: Run, accuracy: float = 0.9, epochs: int = 2, at: bool = True) -> Side:
    figures = {"fused": accuracy, "audio": None, "visual": accuracy}
    curve = [{"epoch": epoch, "accuracy": figures, "mean_abs_gap": 0.2} for epoch in range(1, epochs + 1)]
    return Side(
        {"run": made.model_dump(mode="json"), "curve": curve, "at": report().model_dump() if at else None},
        "validation",
        2,
    )


def test_test_clips_that_were_looked_at_once_come_from_the_result() -> None:
    made = run("a", state="finished")
    assert made.result is not None
    last = made.result.last
    document = {"run": made.model_dump(mode="json"), "curve": [], "at": None}
    assert Side(document, "test", last.epoch).at == last.test
    assert Side(document, "test", last.epoch + 1).at is None
    assert Side(document, "validation", last.epoch).at is None


SPREADS = [{"runs": ["a", "b"], "seeds": [0, 1], "num_runs": 2, "mean": {"fused": 0.85, "audio": None, "visual": 0.85},
            "standard_deviation": {"fused": 0.0707, "audio": None, "visual": 0.0707}}]  # fmt: skip


def test_equal_names_are_told_apart() -> None:
    names = comparing.names_of([seeded("a", 0), seeded("b", 1), seeded("c", 1)])
    assert names == {"a": "adaptive, seed 0", "b": "adaptive, seed 1", "c": "adaptive, seed 1 (2)"}


def test_seeds_are_a_mean_with_a_band_of_one_deviation() -> None:
    sides = [side(seeded("a", 0), 0.8), side(seeded("b", 1), 0.9, epochs=1)]
    lines = comparing.group_names(sides, SPREADS, comparing.names_of([one.run for one in sides]))
    assert set(lines.values()) == {"adaptive, 2 seeds"}
    table = comparing.curve_table(sides, "fused", lines, lines)
    first, second = table.to_dict("records")
    assert (first["runs"], first["value"]) == (2, pytest.approx(0.85))
    assert first["high"] - first["value"] == pytest.approx(math.sqrt(0.005))
    assert (second["runs"], second["value"]) == (1, 0.8)
    assert comparing.curve_table(sides, "audio", lines, lines).empty
    spec = charts.curves(table, "fused", 2, ["adaptive, 2 seeds"], 1).to_dict()
    assert spec["layer"][1]["encoding"]["color"]["scale"]["domain"] == ["adaptive, 2 seeds"]


def test_many_lines_are_coloured_by_method() -> None:
    sides = [side(seeded(f"r{number}", number)) for number in range(9)]
    lines = comparing.names_of([one.run for one in sides])
    assert set(comparing.series_of(sides, lines).values()) == {sides[0].run.spec.objective.kind}
    assert comparing.series_of(sides[:8], {key: lines[key] for key in list(lines)[:8]})["r0"] == lines["r0"]


def test_gap_shares_of_a_line_add_up_to_one() -> None:
    sides = [side(seeded("a", 0)), side(seeded("b", 1), at=False)]
    lines = {"a": "one", "b": "one"}
    table = comparing.gap_table(sides, lines, lines)
    assert table["share"].sum() == pytest.approx(1)
    assert table["clips"].sum() == report().num_samples
    assert len(table) == 40


def test_interval_needs_three_runs() -> None:
    assert comparing.spread_words(0.9, None, 1) == "90.0 %"
    assert comparing.spread_words(0.9, 0.01, 2) == "90.0 ± 1.0 %"
    # t(0.975, 2) = 4.3027: half the width is 4.3027 * 0.01 / sqrt(3)
    assert comparing.spread_words(0.9, 0.01, 3) == "90.0 ± 1.0 % [87.5, 92.5]"
    assert comparing.spread_words(None, None, 3) == "–"


def test_settings_have_names_for_people() -> None:
    differing = {
        "objective.kind": {"a": "joint", "b": None},
        "seed": {"a": 0, "b": 1},
        "dataset.preprocess.duration_s": {"a": 0.5, "b": 1.0},
    }
    table = comparing.differences(differing, {"a": "A", "b": "B"})
    assert list(table["setting"]) == ["Method", "Seed", "Preparation of the clips: Duration (seconds)"]
    assert list(table["B"]) == ["–", "1", "1.0"]


def test_readers_are_told_what_cannot_be_compared() -> None:
    short = run("b", progress=RunProgress(epoch=2, epochs=4))
    new = run("c", progress=RunProgress(epoch=0, epochs=4), summary=None)
    sides = [side(run("a")), side(short, at=False), side(new, at=False)]
    said = " ".join(comparing.remarks(sides, 3, "validation", {"a": "A", "b": "B", "c": "C"}))
    assert "Not at epoch 3 yet, or shorter: B." in said
    assert "Without a finished epoch: C." in said
    assert "not at epoch 3: A." in " ".join(comparing.remarks([side(run("a"), at=False)], 3, "test", {"a": "A"}))
    assert comparing.listed([str(number) for number in range(9)]) == "0, 1, 2, 3, 4 and 4 more"
    assert named("run-1 has not finished.", {"run-1": "A"}) == "“A” has not finished."


def test_lineage_between_compared_runs() -> None:
    child = run("b", derived_from=[Origin(run_id="a", through="start_from", epoch=3)])
    assert comparing.lineage([side(run("a")), side(child)]) == [("b", "a")]


def test_page_shows_pairs_and_names_deleted_runs(api: RecordedApi, open_page: Open) -> None:
    api.known = {"run-1": run(), "run-2": seeded("run-2", 7)}
    app = open_page("compare", runs="run-1,run-2,run-0", epoch="2", split="train", change="fused")
    assert not app.exception
    said = texts(app)
    assert "Not found, deleted perhaps: run-0" in said
    assert "1 clip changed" in said
    tables = [frame.value for frame in app.dataframe]
    assert any(list(table.get("only_second_right", ())) == [12] for table in tables)
    assert any(list(table.get("group", ())) == ["Dominant group, visual leads → Similar group"] for table in tables)
    assert ("compare", {"runs": ["run-1", "run-2", "run-0"], "split": "train", "epoch": 2}) in api.asked
    assert next(asked for name, asked in api.asked if name == "compare_changes")["change"] == "fused"
