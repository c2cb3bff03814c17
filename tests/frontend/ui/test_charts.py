from __future__ import annotations

from typing import Any

import altair as alt
import pytest

from frontend.ui import history as folding
from frontend.ui.charts import classes, datasets, epochs, gaps, palette, samples
from frontend.ui.history import History
from tests.frontend.ui.recorded import RecordedApi, epoch, events, mixture, report, row, started


@pytest.fixture
def history() -> History:
    made = History()
    made.fold(events())
    return made


def spec_of(chart: Any) -> dict[str, Any]:
    """Returns a chart's specification without its data."""
    spec: dict[str, Any] = chart.to_dict()
    spec.pop("datasets", None)
    return spec


def without_names(spec: Any) -> Any:
    """Returns a specification without the names of its data sets, which follow from their content."""
    if isinstance(spec, dict):
        return {key: without_names(value) for key, value in spec.items() if key != "name"}
    return [without_names(value) for value in spec] if isinstance(spec, list) else spec


def test_the_histogram_has_the_counts_of_the_event() -> None:
    shown = report(groups=(60, 10, 20, 110))
    assert shown.histogram is not None
    table = gaps.histogram_table(shown.histogram)
    assert list(table["samples"]) == shown.histogram.counts
    assert table["samples"].sum() == 200
    assert (table["low"].iloc[0], table["high"].iloc[-1]) == (-1.0, 1.0)


def test_curves_are_scaled_to_the_counts() -> None:
    width, num_samples = 2 / 80, 200
    table = gaps.curve_table(mixture(), num_samples, width)
    total = table[table["curve"] == "Mixture"]
    step = 2 / (gaps.GRID_POINTS - 1)
    assert total["samples"].sum() * step / width == pytest.approx(num_samples, rel=0.02)
    parts = table[table["curve"] != "Mixture"].groupby("gap")["samples"].sum()
    assert list(parts) == pytest.approx(list(total.set_index("gap")["samples"]))
    peak = table[(table["curve"] == "Similar scores") & (table["gap"].abs() < 1e-9)]["samples"].iloc[0]
    assert peak == pytest.approx(num_samples * width * 0.75 / (2 * 3.141592653589793 * 0.01) ** 0.5)


def test_the_brush_lies_on_the_bars() -> None:
    spec = gaps.gap_histogram(report(), mixture(), brush=True).to_dict()
    assert [one["name"] for one in spec["params"]] == [gaps.BRUSH]
    assert "params" not in gaps.gap_histogram(report(), mixture()).to_dict()


def test_a_histogram_without_a_mixture_draws_the_bars_alone() -> None:
    assert isinstance(gaps.gap_histogram(report(), None), alt.LayerChart)


def test_charts_keep_their_specification_while_a_run_goes_on() -> None:
    young, old = History(), History()
    young.fold(events()[:4])
    old.fold(events()[:5])
    pairs = []
    for history in (young, old):
        boundary = history.boundaries()
        heat = gaps.heat_map(folding.heat_table(history, "validation"), 4, boundary)
        means = epochs.mixture_means(folding.mixture_table(history, "validation"), 4, boundary)
        flow = epochs.groups_over_epochs(folding.group_table(history, "validation"), 4, boundary)
        newest = history.epochs[-1].validation
        histogram = gaps.gap_histogram(newest, newest.mixture)
        lines = epochs.accuracies(folding.accuracy_table(history, "validation"), 4, boundary, history.newest)
        pairs.append([without_names(spec_of(chart)) for chart in (heat, means, flow, histogram, lines)])
    assert pairs[0] == pairs[1]


def test_colours_are_the_same_everywhere(history: History) -> None:
    spec = epochs.accuracies(folding.accuracy_table(history, "validation"), 4, [(2, "adaptive")], 4).to_dict()
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale == {"domain": ["Fused", "Audio", "Visual"], "range": [palette.FUSED, palette.AUDIO, palette.VISUAL]}
    assert len({palette.AUDIO, palette.VISUAL, palette.FUSED, palette.BALANCED, palette.IMBALANCED}) == 5


def test_group_bars_say_share_and_count() -> None:
    now = {"similar_right": 60, "similar_wrong": 10, "audio_dominant": 20, "visual_dominant": 110}
    table = epochs.group_rows(now, {**now, "similar_right": 120, "visual_dominant": 50}, "epoch 2")
    visual = table[table["group"] == "Visual-dominant"].iloc[0]
    assert visual["words"].replace("\u00a0", " ") == "55.0 %  (110)"
    assert visual["share_before"] == 0.25
    assert epochs.group_rows(now, None, "")["share_before"].isna().all()


def test_few_points_are_sent_for_long_runs() -> None:
    history = History()
    history.fold([started(2_000), *(epoch(number) for number in range(1, 2_001))])
    assert len(folding.accuracy_table(history, "validation")) <= 3 * (folding.MAX_POINTS + 1)
    assert len(folding.heat_table(history, "validation")) <= 60 * folding.HEAT_BINS


def test_class_gaps_are_those_of_the_api() -> None:
    table = classes.class_table(RecordedApi().report("run-1", "classes"))
    assert dict(zip(table["label"], table["mean_gap"], strict=True)) == {"cat": -0.4, "dog": 0.1}
    assert isinstance(classes.class_gaps(table), alt.LayerChart)


def test_a_sample_says_what_each_modality_makes_of_it() -> None:
    table = samples.true_class_table(row())
    said = [text.replace("\u00a0", " ") for text in table["words"]]
    assert said == ["80.0 %  ✓", "20.0 %  ✗ dog", "90.0 %  ✓"]


def test_trajectories_have_every_epoch() -> None:
    table = samples.trajectory_table([row(epoch=number) for number in (1, 2, 3)])
    assert list(table["epoch"]) == [1, 2, 3]
    assert list(table["gap"]) == [-0.7] * 3
    gaps = samples.gap_table({"epochs": [1, 2], "gap": [0.5, None], "posterior_imbalanced": [0.25, None]})
    assert gaps.dropna().to_numpy().tolist() == [[1.0, 0.5, 0.25]]
    assert samples.gap_trajectory(gaps, 4, [], 2).to_dict()
    assert samples.gap_trajectory(table, 4, [], 3).to_dict()
    assert samples.score_trajectory(table, 4, [(2, "adaptive")], 3).to_dict()


def test_probabilities_are_the_likeliest_first() -> None:
    table = samples.distribution_table({"a": 0.1, "b": 0.7, "c": 0.2}, top=2)
    assert list(table["label"]) == ["b", "c"]
    assert samples.distribution_bars({"a": 0.1, "b": 0.9}, "audio").to_dict()


def test_overlapping_windows_stand_at_their_middles() -> None:
    table = samples.window_table([(0.0, 1.0, {"audio": 0.2, "visual": None}), (0.5, 1.5, {"audio": 0.3})])
    assert [tuple(one) for one in table.to_numpy()] == [(0.5, "Audio", 0.2), (1.0, "Audio", 0.3)]
    assert samples.window_lines(table).to_dict()


def test_class_balance_counts_every_split() -> None:
    table = datasets.class_balance_table({"train": {"cat": 3, "dog": 1}, "test": {"cat": 1}})
    assert table["clips"].sum() == 5
    assert datasets.class_balance(table).to_dict()
