"""Charts of datasets: how many clips each class has, and how each measure of quality is distributed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import altair as alt
import pandas as pd

from frontend.ui import words
from frontend.ui.charts import palette
from worker.contract.resources import MetricSummary

MAX_CLASSES: Final = 60


def class_balance_table(counts: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """Returns split, label and clips; of many classes, the largest.

    Args:
        counts: split -> class -> clips.
    """
    totals: dict[str, int] = {}
    for classes in counts.values():
        for label, clips in classes.items():
            totals[label] = totals.get(label, 0) + clips
    kept = sorted(totals, key=lambda label: (-totals[label], label))[:MAX_CLASSES]
    rows = [
        (words.SPLITS[split].capitalize(), label, counts[split].get(label, 0))
        for split in words.SPLITS
        if split in counts
        for label in kept
    ]
    return pd.DataFrame(rows, columns=["split", "label", "clips"])


def class_balance(table: pd.DataFrame) -> alt.Chart:
    """Returns stacked bars of clips by class, the largest class first."""
    splits = [title.capitalize() for title in words.SPLITS.values()]
    colours = [palette.FUSED, palette.VISUAL, palette.BALANCED]
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_bar(opacity=0.85)
        .encode(
            x=alt.X("clips:Q", title="clips", stack="zero", axis=alt.Axis(tickMinStep=1, format=",d")),
            y=alt.Y("label:N", sort="-x", title=None, axis=alt.Axis(labelLimit=180)),
            color=alt.Color(
                "split:N",
                scale=alt.Scale(domain=splits, range=colours),
                legend=alt.Legend(orient="top", title=None),
            ),
            order=alt.Order("rank:Q"),
            tooltip=["label:N", "split:N", "clips:Q"],
        )
        .transform_calculate(rank=f"indexof({splits}, datum.split)")
        .properties(height=max(220, 24 * table["label"].nunique() + 60))
    )
    return chart


def metric_table(summary: MetricSummary) -> pd.DataFrame:
    """Returns the bins of a measure: from, to, clips."""
    edges = summary.edges
    return pd.DataFrame({"from": edges[:-1], "to": edges[1:], "clips": summary.counts})


AXIS_TITLES: Final[dict[str, str]] = {
    "share": "share of the clip",
    "of full scale": "share of full scale",
    "variance": "variance of the Laplacian (luma 0 to 255)",
}
"""Unit -> title of the axis, where the unit alone would not say what it is."""


def metric_histogram(summary: MetricSummary) -> alt.Chart:
    """Returns the histogram of one measure over a dataset's clips; the measure has at least two values."""
    fraction = summary.unit in {"share", "of full scale"}
    number = ".1~%" if fraction else ".3~g"
    chart: alt.Chart = (
        alt.Chart(metric_table(summary))
        .mark_bar(color=palette.FUSED, opacity=0.85, binSpacing=1)
        .encode(
            x=alt.X(
                "from:Q",
                bin="binned",
                title=AXIS_TITLES.get(summary.unit, summary.unit),
                axis=alt.Axis(format=".1~%" if fraction else "~g", tickCount=5),
                scale=alt.Scale(domain=[summary.edges[0], summary.edges[-1]], nice=False),
            ),
            x2="to:Q",
            y=alt.Y("clips:Q", title="clips", axis=alt.Axis(tickCount=4)),
            tooltip=[alt.Tooltip("from:Q", format=number), alt.Tooltip("to:Q", format=number), "clips:Q"],
        )
        .properties(height=150)
    )
    return chart
