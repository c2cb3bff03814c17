"""How clips moved between groups from one epoch to another, as a table of squares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import altair as alt
import pandas as pd

from frontend.ui import words
from frontend.ui.charts import palette

TITLES: Final = words.MIXTURE_GROUPS


def flow_table(answer: Mapping[str, Any]) -> pd.DataFrame:
    """Returns source, target, clips, share (of the source group) and stays, from GET /runs/{id}/flow."""
    links = answer["links"]
    totals: dict[str, int] = {}
    for link in links:
        totals[link["source"]] = totals.get(link["source"], 0) + link["num_samples"]
    rows = [
        (
            TITLES[link["source"]],
            TITLES[link["target"]],
            link["num_samples"],
            link["num_samples"] / totals[link["source"]],
            link["source"] == link["target"],
        )
        for link in links
    ]
    return pd.DataFrame(rows, columns=["source", "target", "clips", "share", "stays"])


def moved_words(table: pd.DataFrame) -> str:
    """Returns how many clips changed their group, in a sentence."""
    total, moved = int(table["clips"].sum()), int(table.loc[~table["stays"], "clips"].sum())
    if not moved:
        return f"No clip changed its group ({words.count(total, 'clip')})."
    changed = table[~table["stays"]].sort_values("clips", ascending=False).iloc[0]
    most = f"most from {changed['source'].lower()} to {changed['target'].lower()} ({int(changed['clips'])})"
    return f"{words.share(moved, total)} changed their group, {most}."


def flow_chart(table: pd.DataFrame, start: int, end: int) -> alt.LayerChart:
    """Returns groups at the earlier epoch (rows) against groups at the later one, with the number of clips.

    Args:
        table: of `flow_table`.
        start: the earlier epoch.
        end: the later epoch.
    """
    order = [title for title in TITLES.values() if title in {*table["source"], *table["target"]}]
    x = alt.X("target:N", sort=order, title=f"epoch {end}", axis=alt.Axis(orient="top", labelAngle=0))
    y = alt.Y("source:N", sort=order, title=f"epoch {start}")
    cells = (
        alt.Chart(table)
        .mark_rect(stroke=palette.RULE, strokeOpacity=0.3)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "target:N",
                scale=alt.Scale(domain=order, range=[palette.GROUP_OF[title] for title in order]),
                legend=None,
            ),
            opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.08, 0.85]), legend=None),
            tooltip=[
                alt.Tooltip("source:N", title=f"epoch {start}"),
                alt.Tooltip("target:N", title=f"epoch {end}"),
                alt.Tooltip("clips:Q"),
                alt.Tooltip("share:Q", title="of that group", format=".1%"),
            ],
        )
    )
    text = alt.Chart(table).mark_text(fontSize=14, fontWeight=600, color=palette.TEXT).encode(x=x, y=y, text="clips:Q")
    made = alt.layer(cells, text).properties(height=200)
    assert isinstance(made, alt.LayerChart)
    return made
