"""Charts of single clips: scores by modality, the way over the epochs, class probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt
import pandas as pd

from frontend.ui import words
from frontend.ui.charts import palette
from frontend.ui.charts.epochs import epoch_axis, marker
from frontend.ui.charts.gaps import Boundary, stage_rule
from frontend.ui.charts.layers import layered
from worker.contract.scores import SampleRow

TOP_CLASSES: Final = 5
RIGHT_EDGE: Final = 1.75
"""Where the figures beside the bars end; a bar of 100 % ends at 1."""
MOST_DOTS: Final = 60
"""Epochs up to which the dots of a way are large: more would cover it."""
NAME_CHARACTERS: Final = 14
"""Of a class beside a bar; the whole name is told by the tooltip."""
_NAMES: Final = list(palette.MODALITY)
_COLOURS: Final = alt.Scale(domain=_NAMES, range=list(palette.MODALITY.values()))


def true_class_table(row: SampleRow) -> pd.DataFrame:
    """Returns series, probability (of the true class), predicted and words of one sample, known modalities only."""
    rows = []
    for name, title in words.MODALITIES.items():
        probability, predicted = getattr(row.p_true, name), getattr(row.predicted, name)
        if probability is not None:
            verdict = "✓" if predicted == row.label else f"✗ {words.shortened(str(predicted), NAME_CHARACTERS)}"
            said = f"{words.percent(probability)}  {verdict}"
            rows.append((title, probability, str(predicted), said))
    return pd.DataFrame(rows, columns=["series", "probability", "predicted", "words"])


def true_class_bars(row: SampleRow) -> alt.LayerChart:
    """Returns a bar for each modality: what it gives the true class, and what it would say instead."""
    table = true_class_table(row)
    y = alt.Y("series:N", sort=_NAMES, title=None, axis=alt.Axis(ticks=False, domain=False, labelFontSize=13))
    x = alt.X(
        "probability:Q",
        scale=alt.Scale(domain=[0, RIGHT_EDGE]),
        axis=alt.Axis(format="%", title=None, values=[0, 0.5, 1]),
    )
    bars = (
        alt.Chart(table)
        .mark_bar(opacity=0.85, height=20)
        .encode(x=x, y=y, color=alt.Color("series:N", scale=_COLOURS, legend=None), tooltip=["series:N", "predicted:N"])
    )
    text = alt.Chart(table).mark_text(align="right", dx=-4, fontSize=13, fontWeight=600, color=palette.RULE)
    return layered(bars, text.encode(x=alt.datum(RIGHT_EDGE, type="quantitative"), y=y, text="words:N"), height=130)


def trajectory_table(rows: Sequence[SampleRow]) -> pd.DataFrame:
    """Returns epoch, gap, posterior and the true class's probability by fused, audio and visual."""
    made = [
        (row.epoch, row.gap, row.posterior_imbalanced, row.p_true.fused, row.p_true.audio, row.p_true.visual)
        for row in rows
    ]
    return pd.DataFrame(made, columns=["epoch", "gap", "posterior", "Fused", "Audio", "Visual"]).astype(
        dict.fromkeys(("gap", "posterior", "Fused", "Audio", "Visual"), float)
    )


def gap_table(trajectory: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Returns epoch, gap and posterior of every finished epoch, from GET /runs/{id}/samples/{sample_id}."""
    names = {"epoch": "epochs", "gap": "gap", "posterior": "posterior_imbalanced"}
    return pd.DataFrame({name: trajectory[field] for name, field in names.items()}).astype(
        {"gap": float, "posterior": float}
    )


def score_trajectory(
    table: pd.DataFrame, epochs: int, boundaries: Sequence[Boundary], shown: int | None
) -> alt.LayerChart:
    """Returns what each modality gave the true class, epoch by epoch."""
    long = table.melt("epoch", _NAMES, "series", "probability").dropna()
    lines = (
        alt.Chart(long)
        .mark_line(strokeWidth=2)
        .encode(
            x=epoch_axis(epochs),
            y=alt.Y("probability:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", title="true class")),
            color=alt.Color(
                "series:N",
                scale=_COLOURS,
                legend=alt.Legend(orient="top", title=None, symbolType="stroke", symbolSize=280),
            ),
            strokeDash=alt.StrokeDash(
                "series:N", scale=alt.Scale(domain=_NAMES, range=list(palette.MODALITY_DASH.values())), legend=None
            ),
            tooltip=["series:N", "epoch:Q", alt.Tooltip("probability:Q", format=".1%")],
        )
    )
    return layered(lines, stage_rule(boundaries), marker(shown), height=230)


def gap_trajectory(
    table: pd.DataFrame, epochs: int, boundaries: Sequence[Boundary], shown: int | None
) -> alt.LayerChart:
    """Returns a sample's gap over epochs, and the probability of the dominant group as dots sized by it."""
    known = table.dropna(subset=["gap"])
    y = alt.Y("gap:Q", scale=alt.Scale(domain=[-1, 1]), axis=alt.Axis(title="score gap", format="+.1f"))
    base = alt.Chart(known).encode(x=epoch_axis(epochs), y=y)
    line = base.mark_line(color=palette.RULE, strokeWidth=1.5)
    dots = base.mark_circle(opacity=1).encode(
        color=alt.Color(
            "posterior:Q",
            scale=alt.Scale(domain=[0, 1], range=[palette.BALANCED, palette.IMBALANCED]),
            legend=alt.Legend(
                orient="top", title="Prob. of the dominant group", format=".0%", gradientLength=120, gradientThickness=8
            ),
        ),
        size=alt.value(55 if len(known) <= MOST_DOTS else 14),
        tooltip=[
            "epoch:Q",
            alt.Tooltip("gap:Q", format="+.3f"),
            alt.Tooltip("posterior:Q", title="prob. of the dominant group", format=".1%"),
        ],
    )
    zero = alt.Chart(pd.DataFrame({"gap": [0.0]})).mark_rule(color=palette.RULE, strokeDash=[2, 3], opacity=0.6)
    return layered(zero.encode(y="gap:Q"), line, dots, stage_rule(boundaries), marker(shown), height=240)


def distribution_table(
    probabilities: Mapping[str, float], top: int = TOP_CLASSES, true: str | None = None
) -> pd.DataFrame:
    """Returns label, probability, words and name of the likeliest classes, likeliest first, and of the true one.

    Args:
        probabilities: class to probability.
        top: classes at most; the true one may come after them.
        true: the true class, if known: its name says so.
    """
    everything = sorted(probabilities.items(), key=lambda item: (-item[1], item[0]))
    ordered = everything[:top] + [item for item in everything[top:] if item[0] == true]
    rows = [
        (label, value, words.percent(value), f"✓ {label} (true)" if label == true else label)
        for label, value in ordered
    ]
    return pd.DataFrame(rows, columns=["label", "probability", "words", "name"])


def distribution_bars(probabilities: Mapping[str, float], modality: str, true: str | None = None) -> alt.LayerChart:
    """Returns a bar for each of a modality's likeliest classes.

    Args:
        probabilities: class to probability.
        modality: fused, audio or visual: its colour.
        true: the true class, if known: it is marked, and drawn even where it is not among the likeliest.
    """
    table = distribution_table(probabilities, true=true)
    y = alt.Y("name:N", sort=list(table["name"]), title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=120))
    x = alt.X(
        "probability:Q",
        scale=alt.Scale(domain=[0, RIGHT_EDGE]),
        axis=alt.Axis(format="%", title=None, values=[0, 0.5, 1]),
    )
    colour = palette.MODALITY[words.MODALITIES[modality]]
    bars = alt.Chart(table).mark_bar(color=colour, opacity=0.85, height=16).encode(x=x, y=y)
    text = alt.Chart(table).mark_text(align="right", dx=-4, fontWeight=600, color=palette.RULE)
    return layered(bars, text.encode(x=alt.datum(RIGHT_EDGE, type="quantitative"), y=y, text="words:N"), height=170)


def window_table(windows: Sequence[tuple[float, float, Mapping[str, float | None]]]) -> pd.DataFrame:
    """Returns time, series and probability over a clip's windows, each at its middle, since windows overlap."""
    rows = [
        ((start + end) / 2, words.MODALITIES[name], value)
        for start, end, values in windows
        for name, value in values.items()
        if value is not None
    ]
    return pd.DataFrame(rows, columns=["time", "series", "probability"])


def window_lines(table: pd.DataFrame) -> alt.Chart:
    """Returns the score of one class over the time of a clip, by modality."""
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=30))
        .encode(
            x=alt.X("time:Q", axis=alt.Axis(title="middle of the window, seconds", grid=False)),
            y=alt.Y("probability:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", title=None)),
            color=alt.Color(
                "series:N",
                scale=_COLOURS,
                legend=alt.Legend(orient="top", title=None, symbolType="stroke", symbolSize=280),
            ),
        )
        .properties(height=280)
    )
    return chart
