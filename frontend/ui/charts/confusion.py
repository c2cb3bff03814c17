"""The confusion matrix of one prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import altair as alt
import pandas as pd

from frontend.ui.charts import palette

MOST_CLASSES: Final = 40
"""Rows that are legible; of more classes those are shown whose clips are mistaken most often."""
NAMED_UP_TO: Final = 20
"""Classes up to which the names of the columns are legible."""
NUMBERS_UP_TO: Final = 14
"""Classes up to which each cell has its number written in it."""


def confusion_table(answer: Mapping[str, Any]) -> pd.DataFrame:
    """Returns truth, prediction, clips and share (of the true class), from GET /runs/{id}/confusion."""
    classes, counts = answer["classes"], answer["counts"]
    rows = [
        (truth, prediction, counts[row][column], counts[row][column] / max(1, sum(counts[row])))
        for row, truth in enumerate(classes)
        for column, prediction in enumerate(classes)
    ]
    return pd.DataFrame(rows, columns=["truth", "prediction", "clips", "share"])


def most_mistaken(table: pd.DataFrame, most: int = MOST_CLASSES) -> list[str]:
    """Returns the classes to show, by name: all, or of many those with the most mistakes."""
    wrong = table[table["truth"] != table["prediction"]]
    mistakes = wrong.groupby("truth")["clips"].sum() + wrong.groupby("prediction")["clips"].sum()
    kept = (
        mistakes.sort_values(ascending=False, kind="stable").index[:most] if len(mistakes) else table["truth"].unique()
    )
    return sorted(map(str, kept))


def confusion_chart(table: pd.DataFrame, modality: str) -> alt.LayerChart:
    """Returns the matrix: rows are true classes, the darker a cell the larger its share of the row.

    Args:
        table: of `confusion_table`, some classes left out perhaps.
        modality: Fused, Audio or Visual: its colour.
    """
    classes = sorted(table["truth"].unique())
    named = len(classes) <= NAMED_UP_TO
    x = alt.X(
        "prediction:N",
        sort=classes,
        title="predicted class" if named else "predicted class (same order)",
        axis=alt.Axis(labelLimit=90, labelAngle=-40, labelOverlap=False, labels=named, ticks=named),
    )
    y = alt.Y("truth:N", sort=classes, title="true class", axis=alt.Axis(labelLimit=120, labelOverlap=False))
    cells = (
        alt.Chart(table)
        .mark_rect(color=palette.MODALITY[modality], stroke=palette.RULE, strokeOpacity=0.25)
        .encode(
            x=x,
            y=y,
            opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.0, 1.0]), legend=None),
            tooltip=[
                alt.Tooltip("truth:N", title="true class"),
                alt.Tooltip("prediction:N", title="predicted"),
                alt.Tooltip("clips:Q"),
                alt.Tooltip("share:Q", title="share of the true class", format=".1%"),
            ],
        )
    )
    numbers = table[table["clips"] > 0] if len(classes) <= NUMBERS_UP_TO else table[:0]
    text = alt.Chart(numbers).mark_text(fontSize=12, color=palette.TEXT).encode(x=x, y=y, text="clips:Q")
    made = alt.layer(cells, text).properties(height=max(260, 26 * len(classes)))
    assert isinstance(made, alt.LayerChart)
    return made
