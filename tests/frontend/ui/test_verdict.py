"""Verdicts on a clip in words."""

from __future__ import annotations

from datetime import UTC, datetime

from frontend.ui.charts.samples import distribution_table
from frontend.ui.charts.saving import in_csv
from frontend.ui.charts.scores import change_dumbbells, change_table
from frontend.ui.panels.score_list import table_of
from frontend.ui.verdict import place_words
from tests.frontend.ui.recorded import score_result
from worker.contract.scores import ClassByModality, GapInTraining, ProbabilityByModality, ScoreSummary


def test_the_place_of_a_gap_among_training_is_told_with_its_range() -> None:
    said = place_words(GapInTraining(outside=False, min=-0.2, max=0.9, quantile=0.83))
    assert said == (
        "83.0\u00a0% of the training clips had a score gap of this or less; theirs went from -0.20 to +0.90."
    )


def test_every_probability_stands_before_and_after_each_knock_out_the_largest_change_first() -> None:
    table = change_table(score_result())
    mute = table[(table["knock_out"] == "Sound muted") & (table["branch"] == "Fused")]
    assert {row["class"]: round(row["change"], 6) for _, row in mute.iterrows()} == {"cat": 0.1, "dog": -0.1}
    assert len(table) == 4  # two knock-outs of two classes; the branches that are missing have no rows
    assert list(table["change"].abs()) == sorted(table["change"].abs(), reverse=True)
    assert change_dumbbells(table, "cat").to_dict()["height"] == 206


def test_the_true_class_is_marked_even_where_it_is_not_among_the_likeliest() -> None:
    table = distribution_table({"a": 0.5, "b": 0.3, "c": 0.2}, top=1, true="c")
    assert list(table["name"]) == ["a", "✓ c (true)"]
    assert list(table["words"]) == ["50.0\u00a0%", "20.0\u00a0%"]


def test_the_table_of_scores_holds_what_the_api_says_and_no_formula() -> None:
    summary = ScoreSummary(
        id="score-1", state="finished", run_id="run-1", filename="=evil.mp4",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        predicted=ClassByModality(fused="cat", audio="dog", visual=None), gap=-0.5,
        p_predicted=ProbabilityByModality(fused=0.8, audio=0.7, visual=None),
    )  # fmt: skip
    table = table_of([summary])
    assert table.loc[0, ["fused", "p_fused", "audio", "gap"]].tolist() == ["cat", 0.8, "dog", -0.5]
    assert in_csv(table).splitlines()[1].startswith(b"'=evil.mp4,Finished,cat,0.8,")
