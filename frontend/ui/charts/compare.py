"""Charts that lay several runs over each other."""

from __future__ import annotations

from typing import Final

import altair as alt
import pandas as pd

from frontend.ui.charts.epochs import epoch_axis

RUNS: Final = ("#12A07B", "#C4609E", "#2E8BC9", "#E08A1E", "#7C6BC4", "#8A94A6", "#B9524C", "#5FA8A0")
DASHES: Final = ([1, 0], [7, 3], [2, 2], [8, 3, 2, 3], [1, 0], [7, 3], [2, 2], [8, 3, 2, 3])


def curves(table: pd.DataFrame, measure: str, epochs: int, names: list[str]) -> alt.Chart:
    """Returns one measure of several runs over epochs.

    Args:
        table: run, epoch, measure, value.
        measure: fused, audio, visual or gap.
        epochs: end of the axis.
        names: the runs in their fixed order, which gives each its colour and dash.
    """
    share = measure != "gap"
    number = len(names)
    chart: alt.Chart = (
        alt.Chart(table[table["measure"] == measure])
        .mark_line(strokeWidth=2.2)
        .encode(
            x=epoch_axis(epochs),
            y=alt.Y(
                "value:Q",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%" if share else ".1f", title="accuracy" if share else "mean |gap|"),
            ),
            color=alt.Color(
                "run:N",
                scale=alt.Scale(domain=names, range=list(RUNS[:number])),
                legend=alt.Legend(
                    orient="top", title=None, symbolType="stroke", symbolSize=280, columns=2, labelLimit=220
                ),
            ),
            strokeDash=alt.StrokeDash(
                "run:N", scale=alt.Scale(domain=names, range=[list(dash) for dash in DASHES[:number]]), legend=None
            ),
            tooltip=["run:N", "epoch:Q", alt.Tooltip("value:Q", format=".1%" if share else ".3f")],
        )
        .properties(height=320)
    )
    return chart
