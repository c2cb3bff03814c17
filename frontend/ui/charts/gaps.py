"""Charts of score gaps: the histogram of an epoch with its fitted Gaussians, and the heat map over epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import altair as alt
import pandas as pd

from frontend.ui import words
from frontend.ui.charts import palette
from frontend.ui.charts.layers import layered
from worker.contract.events import Histogram, Mixture, SplitReport, Stage

Boundary = tuple[int, Stage]
BRUSH: Final = "brush"
EM: Final = "\u2003"
GRID_POINTS: Final = 161
HEIGHT: Final = 300
AXIS_TITLE: Final = f"←\u00a0visual leads{4 * EM}score gap (audio - visual){4 * EM}audio leads\u00a0→"


def histogram_table(histogram: Histogram) -> pd.DataFrame:
    """Returns low, high, middle and samples of every bin."""
    edges, counts = histogram.edges, histogram.counts
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "middle": middles, "samples": counts})


def density(mean: float, variance: float, gap: float) -> float:
    """Returns the density of a Gaussian at `gap`."""
    return math.exp(-((gap - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def curve_table(mixture: Mixture, num_samples: int, bin_width: float) -> pd.DataFrame:
    """Returns gap, samples and curve: each component and their sum, scaled to the counts of the histogram.

    Args:
        mixture: the fit.
        num_samples: samples in the histogram.
        bin_width: width of its bins, gap units: a curve's height is num_samples x bin_width x weight x density.
    """
    rows = []
    for step in range(GRID_POINTS):
        gap = -1 + 2 * step / (GRID_POINTS - 1)
        total = 0.0
        for part in mixture.components:
            height = num_samples * bin_width * part.weight * density(part.mean, part.variance, gap)
            total += height
            rows.append((gap, height, words.ROLES[part.role]))
        rows.append((gap, total, "Mixture"))
    return pd.DataFrame(rows, columns=["gap", "samples", "curve"])


def gap_histogram(report: SplitReport, mixture: Mixture | None, *, brush: bool = False) -> alt.LayerChart:
    """Returns the histogram of an epoch's gaps, blue where visual leads and orange where audio does, with its fit.

    Args:
        report: a split at an epoch, with a histogram.
        mixture: the fit to draw over it, if any.
        brush: lets people select a range of gaps (parameter BRUSH on the bars).
    """
    assert report.histogram is not None
    bars = _bars(histogram_table(report.histogram))
    if brush:
        bars = bars.add_params(alt.selection_interval(name=BRUSH, encodings=["x"]))
    width = report.histogram.edges[1] - report.histogram.edges[0]
    columns = ["gap", "samples", "curve"]
    curves = curve_table(mixture, report.num_samples, width) if mixture else pd.DataFrame([], columns=columns)
    zero = alt.Chart(pd.DataFrame({"gap": [0.0]})).mark_rule(color=palette.RULE, opacity=0.5, strokeDash=[2, 3])
    return layered(bars, zero.encode(x="gap:Q"), _curves(curves), height=HEIGHT)


def gap_axis(**options: Any) -> alt.X:
    """Returns the x axis that all gap histograms share."""
    return alt.X(
        "low:Q",
        scale=alt.Scale(domain=[-1, 1]),
        axis=alt.Axis(values=[-1, -0.5, 0, 0.5, 1], format="+.1f", grid=False),
        title=AXIS_TITLE,
        **options,
    )


def _bars(table: pd.DataFrame) -> alt.Chart:
    colours = alt.Scale(
        domain=[-0.6, 0.0, 0.6], range=[palette.VISUAL, palette.BALANCED, palette.AUDIO], clamp=True, interpolate="rgb"
    )
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_bar(opacity=0.75, binSpacing=0.5)
        .encode(
            x=gap_axis(bin="binned"),
            x2="high:Q",
            y=alt.Y("samples:Q", title="clips", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color("middle:Q", scale=colours, legend=None),
            tooltip=[
                alt.Tooltip("low:Q", title="gap from", format="+.3f"),
                alt.Tooltip("high:Q", title="to", format="+.3f"),
                alt.Tooltip("samples:Q", title="clips"),
            ],
        )
    )
    return chart


def _curves(table: pd.DataFrame) -> alt.Chart:
    names = list(palette.ROLE)
    shown = [name for name in names if name in set(table["curve"])]
    dashes = [[1, 0] if name == "Mixture" else [6, 3] for name in names]
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_line(strokeWidth=2.2, interpolate="monotone")
        .encode(
            x=alt.X("gap:Q"),
            y=alt.Y("samples:Q"),
            color=alt.Color(
                "curve:N",
                scale=alt.Scale(domain=names, range=[palette.ROLE[name] for name in names]),
                legend=alt.Legend(orient="top", title=None, symbolType="stroke", symbolSize=280, values=shown)
                if shown
                else None,
            ),
            strokeDash=alt.StrokeDash("curve:N", scale=alt.Scale(domain=names, range=dashes), legend=None),
        )
    )
    return chart


def heat_map(table: pd.DataFrame, epochs: int, boundaries: Sequence[Boundary]) -> alt.LayerChart:
    """Returns gaps by epoch: the darker a cell, the more samples have that gap at that epoch.

    Args:
        table: history.heat_table.
        epochs: planned epochs of the run: the axis does not move while the run goes on.
        boundaries: where stages end (history.boundaries).
    """
    cells = (
        alt.Chart(table)
        .mark_rect(color=palette.IMBALANCED)
        .encode(
            x=alt.X(
                "epoch:Q",
                scale=alt.Scale(domain=[0.5, epochs + 0.5], nice=False),
                axis=alt.Axis(title="epoch", tickMinStep=1, format="d", grid=False),
            ),
            x2="epoch_end:Q",
            y=alt.Y(
                "low:Q",
                scale=alt.Scale(domain=[-1, 1]),
                axis=alt.Axis(title=words.GAP_TITLE, values=[-1, -0.5, 0, 0.5, 1], format="+.1f"),
            ),
            y2="high:Q",
            opacity=alt.Opacity("share:Q", scale=alt.Scale(type="sqrt", range=[0.06, 1.0]), legend=None),
            tooltip=[
                alt.Tooltip("low:Q", title="gap from", format="+.2f"),
                alt.Tooltip("high:Q", title="to", format="+.2f"),
                alt.Tooltip("share:Q", title="share of clips", format=".1%"),
            ],
        )
    )
    return layered(cells, stage_rule(boundaries), height=HEIGHT)


def stage_rule(boundaries: Sequence[Boundary]) -> alt.Chart:
    """Returns a vertical line where a stage ends and the next begins.

    Args:
        boundaries: last epoch of a stage, and the stage that follows (history.boundaries).
    """
    rows = [(epoch + 0.5, epoch, words.STAGES[stage]) for epoch, stage in boundaries]
    table = pd.DataFrame(rows, columns=["epoch", "after", "stage"]).astype({"epoch": float})
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_rule(color=palette.RULE, strokeDash=[4, 4], strokeWidth=1.5, aria=False)
        .encode(
            x="epoch:Q",
            tooltip=[alt.Tooltip("stage:N", title="begins"), alt.Tooltip("after:Q", title="after epoch", format=".0f")],
        )
    )
    return chart
