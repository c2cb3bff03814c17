"""Charts of one score: its gap among those of training, and what each knock-out does to a class's probability."""

from __future__ import annotations

from typing import Any, Final

import altair as alt
import pandas as pd

from frontend.ui import words
from frontend.ui.charts import palette
from frontend.ui.charts.gaps import gap_histogram
from frontend.ui.charts.layers import layered
from frontend.ui.verdict import KNOCK_OUTS
from worker.contract.events import SplitReport
from worker.contract.scores import DistributionByModality, ScoreResult

HEIGHT: Final = 220
FRAME_PX: Final = 110
"""Legend and axis."""
ROW_PX: Final = 48
"""A knock-out with its three branches."""


def marked_gap(report: SplitReport, gap: float) -> alt.LayerChart:
    """Returns the histogram of the training gaps with one clip's gap marked.

    Args:
        report: the training split at the epoch of the model, with a histogram.
        gap: of the clip.
    """
    mark = pd.DataFrame({"gap": [gap], "words": [f"this clip {words.signed(gap)}"]})
    base = alt.Chart(mark).encode(x="gap:Q")
    rule = base.mark_rule(color=palette.WRONG, strokeWidth=2.5)
    style: dict[str, Any] = {"color": palette.WRONG, "fontWeight": 600, "baseline": "top"}
    text = base.mark_text(align="right", dx=-6, **style) if gap > 0 else base.mark_text(align="left", dx=6, **style)
    return layered(
        gap_histogram(report, report.mixture), rule, text.encode(text="words:N", y=alt.value(2)), height=HEIGHT
    )


def change_table(result: ScoreResult) -> pd.DataFrame:
    """Returns every probability of a clip before and after every knock-out.

    Columns: class, branch, knock_out, before, after, change (after minus before, -1 to 1); largest changes first.
    """
    rows = []
    for name, after in result.knock_outs.items():
        for branch, title in words.MODALITIES.items():
            was, now = _of(result.probabilities, branch), _of(after, branch)
            rows += [
                (label, title, KNOCK_OUTS.get(name, name), was[label], now[label]) for label in was if label in now
            ]
    table = pd.DataFrame(rows, columns=["class", "branch", "knock_out", "before", "after"])
    table["change"] = table["after"] - table["before"]
    order = table["change"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _of(distribution: DistributionByModality, branch: str) -> dict[str, float]:
    found: dict[str, float] | None = getattr(distribution, branch)
    return found or {}


def change_dumbbells(table: pd.DataFrame, label: str) -> alt.LayerChart:
    """Returns a line for each knock-out and branch from a class's probability before to that after it.

    Args:
        table: change_table.
        label: the class.
    """
    shown = table[table["class"] == label]
    names = list(palette.MODALITY)
    y = alt.Y("knock_out:N", title=None, sort=list(KNOCK_OUTS.values()), axis=alt.Axis(labelLimit=140))
    base = alt.Chart(shown).encode(
        y=y,
        yOffset=alt.YOffset("branch:N", sort=names),
        color=alt.Color(
            "branch:N",
            scale=alt.Scale(domain=names, range=list(palette.MODALITY.values())),
            legend=alt.Legend(orient="top", title=None),
        ),
        tooltip=[
            "knock_out:N",
            "branch:N",
            alt.Tooltip("before:Q", format=".1%"),
            alt.Tooltip("after:Q", format=".1%"),
            alt.Tooltip("change:Q", format="+.1%"),
        ],
    )
    axis = alt.Axis(format="%", title="probability: ring as it is, dot with the knock-out")
    before = alt.X("before:Q", scale=alt.Scale(domain=[0, 1]), axis=axis)
    return layered(
        base.mark_rule(strokeWidth=2).encode(x=before, x2="after:Q"),
        base.mark_point(size=60, strokeWidth=2, filled=False).encode(x=before),
        base.mark_point(size=70, filled=True, opacity=1).encode(x=alt.X("after:Q")),
        height=FRAME_PX + ROW_PX * max(1, shown["knock_out"].nunique()),
    )
