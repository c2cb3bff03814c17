"""Charts with a bar for each class: mean gaps of a split, and the probabilities of one clip."""

from __future__ import annotations

from typing import Any, Final

import altair as alt
import pandas as pd

from frontend.ui import words
from frontend.ui.charts import palette
from frontend.ui.charts.layers import layered

MAX_CLASSES: Final = 30


def class_table(answer: dict[str, Any]) -> pd.DataFrame:
    """Returns label, samples, mean_gap, audio and visual (accuracies) from GET /runs/{id}/classes."""
    rows = [
        (row["label"], row["num_samples"], row["mean_gap"], row["accuracy"]["audio"], row["accuracy"]["visual"])
        for row in answer["items"]
        if row["mean_gap"] is not None
    ]
    return pd.DataFrame(rows, columns=["label", "samples", "mean_gap", "audio", "visual"])


def class_gaps(table: pd.DataFrame) -> alt.LayerChart:
    """Returns a bar from 0 to the mean gap of each class; of many classes, the widest gaps."""
    order = table["mean_gap"].abs().sort_values(ascending=False).index[:MAX_CLASSES]
    kept = table.loc[order].sort_values("mean_gap")
    kept = kept.assign(side=["Audio" if gap > 0 else "Visual" for gap in kept["mean_gap"]])
    y = alt.Y(
        "label:N",
        sort=alt.EncodingSortField("mean_gap", op="sum", order="ascending"),
        title=None,
        axis=alt.Axis(labelLimit=140, labelOverlap=False),
    )
    bars = (
        alt.Chart(kept)
        .mark_bar(opacity=0.85)
        .encode(
            x=alt.X(
                "mean_gap:Q",
                scale=alt.Scale(domain=[-1, 1]),
                axis=alt.Axis(title=f"mean {words.GAP_TITLE.lower()}; accuracy", format="+.1f"),
            ),
            y=y,
            color=alt.Color(
                "side:N",
                scale=alt.Scale(domain=["Audio", "Visual"], range=[palette.AUDIO, palette.VISUAL]),
                legend=None,
            ),
            tooltip=[
                "label:N",
                alt.Tooltip("samples:Q", title="clips"),
                alt.Tooltip("mean_gap:Q", format="+.2f"),
                alt.Tooltip("audio:Q", title="audio accuracy", format=".1%"),
                alt.Tooltip("visual:Q", title="visual accuracy", format=".1%"),
            ],
        )
    )
    marks = kept.melt("label", ["audio", "visual"], "modality", "accuracy").dropna()
    marks["modality"] = marks["modality"].str.capitalize()
    points = (
        alt.Chart(marks)
        .mark_point(size=46, strokeWidth=2, filled=False)
        .encode(
            x="accuracy:Q",
            y=y,
            color=alt.Color(
                "modality:N",
                scale=alt.Scale(domain=["Audio", "Visual"], range=[palette.AUDIO, palette.VISUAL]),
                legend=alt.Legend(orient="top", title="accuracy", titleOrient="left"),
            ),
            shape=alt.Shape(
                "modality:N", scale=alt.Scale(domain=["Audio", "Visual"], range=["circle", "square"]), legend=None
            ),
            tooltip=["label:N", "modality:N", alt.Tooltip("accuracy:Q", format=".1%")],
        )
    )
    zero = alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule(color=palette.RULE).encode(x="x:Q")
    return layered(bars, zero, points, height=max(270, 24 * len(kept) + 70))
