"""Charts of datasets: how many clips each class has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import altair as alt
import pandas as pd

from frontend.ui import words
from frontend.ui.charts import palette

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
            x=alt.X("clips:Q", title="clips", stack="zero"),
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
