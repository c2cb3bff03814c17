"""Charts over epochs: accuracies, mixture parameters, correctness groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import altair as alt
import pandas as pd

from frontend.ui import words
from frontend.ui.charts import palette
from frontend.ui.charts.gaps import Boundary, stage_rule
from frontend.ui.charts.layers import layered

HEIGHT: Final = 300
SMALL: Final = 270


def epoch_axis(epochs: int) -> alt.X:
    """Returns the axis over all planned epochs: it stays where it is while the run goes on."""
    return alt.X(
        "epoch:Q",
        scale=alt.Scale(domain=[1, max(epochs, 2)], nice=False),
        axis=alt.Axis(title="epoch", tickMinStep=1, format="d", grid=False),
    )


def marker(epoch: int | None) -> alt.Chart:
    """Returns the line at the epoch that the page shows."""
    table = pd.DataFrame({"epoch": [] if epoch is None else [epoch]}, dtype=float)
    line: alt.Chart = alt.Chart(table).mark_rule(color=palette.RULE, opacity=0.7).encode(x="epoch:Q")
    return line


def accuracies(table: pd.DataFrame, epochs: int, boundaries: Sequence[Boundary], shown: int | None) -> alt.LayerChart:
    """Returns the accuracies of fused, audio and visual over epochs, with the boundary between the stages.

    Args:
        table: history.accuracy_table.
        epochs: planned epochs.
        boundaries: where stages end (history.boundaries).
        shown: the epoch that the page shows, marked.
    """
    names = list(palette.MODALITY)
    shown_names = [name for name in names if name in set(table["series"])]
    lines = (
        alt.Chart(table)
        .mark_line(strokeWidth=2.2, point=alt.OverlayMarkDef(size=22, filled=True))
        .encode(
            x=epoch_axis(epochs),
            y=alt.Y("accuracy:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", title="accuracy")),
            color=alt.Color(
                "series:N",
                scale=alt.Scale(domain=names, range=list(palette.MODALITY.values())),
                legend=alt.Legend(orient="top", title=None, symbolType="stroke", symbolSize=280, values=shown_names),
            ),
            strokeDash=alt.StrokeDash(
                "series:N", scale=alt.Scale(domain=names, range=list(palette.MODALITY_DASH.values())), legend=None
            ),
            tooltip=[
                alt.Tooltip("series:N", title=" "),
                alt.Tooltip("epoch:Q"),
                alt.Tooltip("accuracy:Q", format=".1%"),
            ],
        )
    )
    return layered(lines, stage_rule(boundaries), marker(shown), height=HEIGHT)


def mean_gap(table: pd.DataFrame, epochs: int, boundaries: Sequence[Boundary], shown: int | None) -> alt.LayerChart:
    """Returns the mean size of the gap over epochs (from history.gap_table)."""
    line = (
        alt.Chart(table)
        .mark_line(
            strokeWidth=2.2, color=palette.IMBALANCED, point=alt.OverlayMarkDef(size=22, color=palette.IMBALANCED)
        )
        .encode(
            x=epoch_axis(epochs),
            y=alt.Y("mean_abs_gap:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(title="mean |gap|", format=".1f")),
            tooltip=["epoch:Q", alt.Tooltip("mean_abs_gap:Q", title="mean |gap|", format=".3f")],
        )
    )
    return layered(line, stage_rule(boundaries), marker(shown), height=SMALL)


def mixture_means(table: pd.DataFrame, epochs: int, boundaries: Sequence[Boundary]) -> alt.LayerChart:
    """Returns each component's mean over epochs with a band of one standard deviation."""
    colour = _role_colour(table)
    axis = alt.Axis(title="mean gap ± s.d.", values=[-1, -0.5, 0, 0.5, 1], format="+.1f")
    scale = alt.Scale(domain=[-1, 1], clamp=True)
    base = alt.Chart(table).encode(x=epoch_axis(epochs), color=colour)
    band = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q", scale=scale, axis=axis), y2="high:Q")
    line = base.mark_line(strokeWidth=2.2).encode(
        y=alt.Y("mean:Q", scale=scale),
        tooltip=["component:N", "epoch:Q", *_tips("mean", "low", "high", "weight")],
    )
    return layered(band, line, stage_rule(boundaries), height=SMALL)


def mixture_weights(table: pd.DataFrame, epochs: int, boundaries: Sequence[Boundary]) -> alt.LayerChart:
    """Returns each component's weight over epochs."""
    line = (
        alt.Chart(table)
        .mark_line(strokeWidth=2.2)
        .encode(
            x=epoch_axis(epochs),
            y=alt.Y("weight:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", title="weight")),
            color=_role_colour(table),
            tooltip=["component:N", "epoch:Q", alt.Tooltip("weight:Q", format=".1%")],
        )
    )
    return layered(line, stage_rule(boundaries), height=SMALL)


def groups_over_epochs(table: pd.DataFrame, epochs: int, boundaries: Sequence[Boundary]) -> alt.LayerChart:
    """Returns the share of samples in each correctness group over epochs, stacked."""
    names = list(palette.GROUP)
    area = (
        alt.Chart(table)
        .mark_area(opacity=0.8)
        .encode(
            x=epoch_axis(epochs),
            y=alt.Y("share:Q", stack="zero", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", title="clips")),
            color=alt.Color(
                "group:N",
                scale=alt.Scale(domain=names, range=list(palette.GROUP.values())),
                legend=alt.Legend(orient="top", title=None, columns=2),
            ),
            tooltip=["group:N", "epoch:Q", "samples:Q", alt.Tooltip("share:Q", format=".1%")],
        )
    )
    return layered(area, stage_rule(boundaries), height=SMALL)


def gradient_shares(table: pd.DataFrame, epochs: int, boundaries: Sequence[Boundary]) -> alt.LayerChart:
    """Returns each branch's share of the squared gradient norm over epochs, stacked (from history.share_table)."""
    names = [name for name in palette.GRADIENT if name in set(table["part"])]
    area = (
        alt.Chart(table)
        .mark_area(opacity=0.8)
        .encode(
            x=epoch_axis(epochs),
            y=alt.Y("share:Q", stack="zero", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", title="share")),
            color=alt.Color(
                "part:N",
                scale=alt.Scale(domain=names, range=[palette.GRADIENT[name] for name in names]),
                legend=alt.Legend(orient="top", title=None),
            ),
            tooltip=["part:N", "epoch:Q", alt.Tooltip("share:Q", format=".1%")],
        )
    )
    return layered(area, stage_rule(boundaries), height=SMALL)


def numbers(table: pd.DataFrame, epochs: int, boundaries: Sequence[Boundary], unit: str) -> alt.LayerChart:
    """Returns a line for each named number over epochs (from history.number_table).

    Args:
        table: epoch, name, value.
        epochs: planned epochs.
        boundaries: where stages end.
        unit: title of the axis.
    """
    line = (
        alt.Chart(table)
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=18))
        .encode(
            x=epoch_axis(epochs),
            y=alt.Y("value:Q", axis=alt.Axis(title=unit), scale=alt.Scale(zero=False)),
            color=alt.Color(
                "name:N",
                scale=alt.Scale(range=palette.OTHERS),
                legend=alt.Legend(orient="top", title=None, columns=3, symbolType="stroke", labelLimit=170),
            ),
            tooltip=["name:N", "epoch:Q", alt.Tooltip("value:Q", format=".4g")],
        )
    )
    return layered(line, stage_rule(boundaries), height=SMALL)


def group_bars(now: dict[str, int], before: dict[str, int] | None, before_words: str) -> alt.LayerChart:
    """Returns a bar for each correctness group, with a mark where the same bar was earlier.

    Args:
        now: samples by group (contract's names) at the shown epoch.
        before: the same at an earlier epoch, to compare with, if there is one.
        before_words: names that epoch in the tooltip.
    """
    table = group_rows(now, before, before_words)
    names = list(palette.GROUP)
    y = alt.Y("group:N", sort=names, title=None, axis=alt.Axis(labelLimit=180, ticks=False, domain=False))
    x = alt.X(
        "share:Q",
        scale=alt.Scale(domain=[0, 1.3]),
        axis=alt.Axis(format="%", title=None, values=[0, 0.25, 0.5, 0.75, 1]),
    )
    colour = alt.Color("group:N", scale=alt.Scale(domain=names, range=list(palette.GROUP.values())), legend=None)
    tips: list[Any] = ["group:N", "samples:Q", alt.Tooltip("share:Q", format=".1%"), "earlier:N"]
    bars = alt.Chart(table).mark_bar(opacity=0.85, height=26).encode(x=x, y=y, color=colour, tooltip=tips)
    label = alt.Chart(table).mark_text(align="right", dx=-4, fontSize=13, color=palette.RULE, fontWeight=600)
    ticks = alt.Chart(table).mark_tick(color=palette.RULE, thickness=2.5, height=34)
    return layered(
        bars,
        ticks.encode(x="share_before:Q", y=y),
        label.encode(x=alt.datum(1.3, type="quantitative"), y=y, text="words:N"),
        height=HEIGHT,
    )


def group_rows(now: dict[str, int], before: dict[str, int] | None, before_words: str) -> pd.DataFrame:
    """Returns group, samples, share, words, share_before and earlier for `group_bars`."""
    total, total_before = sum(now.values()), sum((before or {}).values())
    rows = []
    for name, title in words.GROUPS.items():
        share_before = before[name] / total_before if before and total_before else None
        earlier = f"{before_words}: {words.percent(share_before)}" if share_before is not None else words.NONE
        share = now[name] / total if total else 0.0
        rows.append((title, now[name], share, f"{words.percent(share)}  ({now[name]})", share_before, earlier))
    table = pd.DataFrame(rows, columns=["group", "samples", "share", "words", "share_before", "earlier"])
    return table.astype({"share_before": float})


def _role_colour(table: pd.DataFrame) -> alt.Color:
    names = [name for name in palette.ROLE if name in set(table["component"])]
    scale = alt.Scale(domain=names, range=[palette.ROLE[name] for name in names])
    return alt.Color(
        "component:N",
        scale=scale,
        legend=alt.Legend(orient="top", title=None, symbolType="stroke", symbolSize=280, symbolOpacity=1),
    )


def _tips(*names: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{name}:Q", format=".3f") for name in names]
