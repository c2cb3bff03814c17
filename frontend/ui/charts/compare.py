"""Charts that lay several runs over each other."""

from __future__ import annotations

from typing import Any, Final

import altair as alt
import pandas as pd

from frontend.ui import words
from frontend.ui.charts import palette
from frontend.ui.charts.epochs import epoch_axis, marker
from frontend.ui.charts.layers import layered

DASHES: Final = ([1, 0], [7, 3], [2, 2], [8, 3, 2, 3])
HEIGHT: Final = 320


def curves(table: pd.DataFrame, measure: str, epochs: int, series: list[str], shown: int | None) -> alt.LayerChart:
    """Returns one measure of several runs over epochs; a band of one s.d. where a line is a mean over seeds.

    Args:
        table: of comparing.curve_table.
        measure: fused, audio, visual or gap.
        epochs: end of the axis.
        series: in their fixed order, which gives each its colour and dash.
        shown: the compared epoch, marked.
    """
    share = measure != "gap"
    number = ".1%" if share else ".3f"
    y = alt.Y(
        "value:Q",
        scale=alt.Scale(domain=[0, 1], clamp=True),
        axis=alt.Axis(format="%" if share else ".1f", title="accuracy" if share else "mean |gap|"),
    )
    tips: list[Any] = ["line:N", "epoch:Q", alt.Tooltip("value:Q", format=number), alt.Tooltip("runs:Q", title="n")]
    lines = (
        alt.Chart(table)
        .mark_line(strokeWidth=2)
        .encode(x=epoch_axis(epochs), y=y, detail="line:N", tooltip=tips, **_look(series))
    )
    band = (
        alt.Chart(table[table["runs"] > 1])
        .mark_area(opacity=0.18)
        .encode(x=epoch_axis(epochs), y=alt.Y("low:Q"), y2="high:Q", detail="line:N", color=_look(series)["color"])
    )
    return layered(band, lines, marker(shown), height=HEIGHT)


def gap_curves(table: pd.DataFrame, series: list[str]) -> alt.Chart:
    """Returns the distributions of the score gap of several runs over each other, as shares of their clips.

    Args:
        table: of comparing.gap_table.
        series: in their fixed order.
    """
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_line(strokeWidth=2, interpolate="step")
        .encode(
            x=alt.X(
                "gap:Q",
                scale=alt.Scale(domain=[-1, 1]),
                axis=alt.Axis(title=words.GAP_TITLE, values=[-1, -0.5, 0, 0.5, 1], format="+.1f", grid=False),
            ),
            y=alt.Y("share:Q", axis=alt.Axis(format="%", title="share of clips in 0.05 of the gap")),
            detail="line:N",
            tooltip=["line:N", alt.Tooltip("gap:Q", format="+.3f"), "clips:Q", alt.Tooltip("share:Q", format=".1%")],
            **_look(series),
        )
        .properties(height=HEIGHT)
    )
    return chart


def _look(series: list[str]) -> dict[str, Any]:
    number = len(palette.OTHERS)
    colours = [palette.OTHERS[place % number] for place in range(len(series))]
    dashes = [list(DASHES[(place + place // number) % len(DASHES)]) for place in range(len(series))]
    legend = alt.Legend(
        orient="top", title=None, symbolType="stroke", symbolSize=280, columns=2, labelLimit=220, symbolOpacity=1
    )
    return {
        "color": alt.Color("series:N", scale=alt.Scale(domain=series, range=colours), legend=legend),
        "strokeDash": alt.StrokeDash("series:N", scale=alt.Scale(domain=series, range=dashes), legend=legend),
    }
