"""The map of a run's clips: mean score gap against its spread over epochs."""

from __future__ import annotations

from typing import Any, Final

import altair as alt
import pandas as pd

from frontend.ui.charts import gaps, palette
from frontend.ui.charts.layers import layered

BRUSH: Final = "map_brush"
HEIGHT: Final = 260


def map_table(shown: dict[str, Any]) -> pd.DataFrame:
    """Returns the edges of each filled rectangle and its clips, from GET /runs/{id}/map."""
    rows = [
        {
            "mean": one["mean_gap"],
            "mean_end": one["mean_gap"] + shown["mean_gap_step"],
            "spread": one["gap_deviation"],
            "spread_end": one["gap_deviation"] + shown["gap_deviation_step"],
            "clips": one["num_samples"],
        }
        for one in shown["bins"]
    ]
    return pd.DataFrame(rows, columns=["mean", "mean_end", "spread", "spread_end", "clips"])


def sample_map(shown: dict[str, Any]) -> alt.LayerChart:
    """Returns the density of clips; a rectangle can be dragged over it (parameter BRUSH).

    Args:
        shown: GET /runs/{id}/map.
    """
    table = map_table(shown)
    top = max(0.3, float(table["spread_end"].max())) if len(table) else 0.3
    cells = (
        alt.Chart(table)
        .mark_rect(color=palette.IMBALANCED)
        .encode(
            x=alt.X("mean:Q", scale=alt.Scale(domain=[-1, 1]), axis=alt.Axis(title=gaps.AXIS_TITLE, format="+.1f")),
            x2="mean_end:Q",
            y=alt.Y("spread:Q", scale=alt.Scale(domain=[0, top]), axis=alt.Axis(title="spread over epochs")),
            y2="spread_end:Q",
            opacity=alt.Opacity("clips:Q", scale=alt.Scale(type="sqrt", range=[0.15, 1.0]), legend=None),
            tooltip=[
                alt.Tooltip("mean:Q", title="mean gap from", format="+.2f"),
                alt.Tooltip("spread:Q", title="spread from", format=".2f"),
                alt.Tooltip("clips:Q", title="clips", format=","),
            ],
        )
        .add_params(alt.selection_interval(name=BRUSH, encodings=["x", "y"]))
    )
    lines = pd.DataFrame({"low": [-0.5, 0.5], "floor": [0.0, 0.0], "ceiling": [0.25, 0.25]})
    rules = (
        alt.Chart(lines).mark_rule(color=palette.RULE, strokeDash=[4, 4]).encode(x="low:Q", y="floor:Q", y2="ceiling:Q")
    )
    across = alt.Chart(pd.DataFrame({"ceiling": [0.25]})).mark_rule(color=palette.RULE, strokeDash=[4, 4])
    return layered(cells, rules, across.encode(y="ceiling:Q"), height=HEIGHT)
