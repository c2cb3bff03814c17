"""Charts of what the model hears of a clip: log-mel spectrogram and waveform over the seconds of the clip."""

from __future__ import annotations

import math
from typing import Final

import altair as alt
import pandas as pd

from frontend.ui.charts import palette
from worker.contract.clip_contents import SpectrogramView, WaveformView

TITLES: Final = {
    "log-mel": "Log-mel spectrogram",
    "log-stft": "Log spectrogram",
    "kaldi-fbank": "Filter bank (Kaldi)",
}
OCTAVES_HZ: Final = (125, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000)
RANGE_DB: Final = 60.0
"""Levels further below the loudest are drawn as the quietest."""
OVERLAP: Final = 0.06
"""Share of a cell that reaches under the next one, so that no hair of the ground shows between them."""
AXIS_PX: Final = 44
"""Width of the labels left of both charts, so that their seconds stand over each other."""
_MEL_TEXT: Final = "format(700 * (pow(10, datum.value / 2595) - 1), ',.0f')"


def mel(hertz: float) -> float:
    """Returns a frequency on the mel scale (HTK)."""
    return 2595 * math.log10(1 + max(hertz, 0.0) / 700)


def spectrogram_table(view: SpectrogramView) -> pd.DataFrame:
    """Returns a row a cell: start_s, end_s, low_hz, high_hz, level_db, and low, high, right: its place on the axes."""
    place = (lambda hertz: hertz) if view.kind == "log-stft" else mel
    rows = [
        (start, end, low, high, level, place(low), _reaching(place(low), place(high)), _reaching(start, end))
        for low, high, levels in zip(view.edges_hz, view.edges_hz[1:], view.levels_db, strict=False)
        for start, end, level in zip(view.edges_s, view.edges_s[1:], levels, strict=False)
    ]
    return pd.DataFrame(rows, columns=["start_s", "end_s", "low_hz", "high_hz", "level_db", "low", "high", "right"])


def _reaching(start: float, end: float) -> float:
    return end + OVERLAP * (end - start)


def spectrogram(view: SpectrogramView) -> alt.Chart:
    """Returns levels over seconds and frequency: the brighter, the louder."""
    table = spectrogram_table(view)
    loudest, quietest = float(table["level_db"].max()), float(table["level_db"].min())
    is_mel = view.kind != "log-stft"
    bottom, top = (mel(edge) if is_mel else edge for edge in (view.edges_hz[0], view.edges_hz[-1]))
    marks = [hertz for hertz in OCTAVES_HZ if view.edges_hz[0] <= hertz <= view.edges_hz[-1]]
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_rect(clip=True)
        .encode(
            x=_seconds("start_s:Q", view.edges_s),
            x2="right:Q",
            y=alt.Y(
                "low:Q",
                scale=alt.Scale(domain=[bottom, top], nice=False),
                axis=alt.Axis(
                    title="Hz (mel scale)" if is_mel else "Hz",
                    values=[mel(hertz) for hertz in marks] if is_mel else marks[-4:],
                    labelExpr=_MEL_TEXT if is_mel else "format(datum.value, ',.0f')",
                    grid=False,
                    minExtent=AXIS_PX,
                ),
            ),
            y2="high:Q",
            color=alt.Color(
                "level_db:Q",
                scale=alt.Scale(scheme="magma", domain=[max(loudest - RANGE_DB, quietest), loudest], clamp=True),
                legend=alt.Legend(
                    title="dB", format=".0f", orient="top", gradientLength=180, gradientThickness=8, tickCount=4
                ),
            ),
            tooltip=[
                alt.Tooltip("start_s:Q", title="from, s", format=".3f"),
                alt.Tooltip("low_hz:Q", title="from, Hz", format=",.0f"),
                alt.Tooltip("high_hz:Q", title="to, Hz", format=",.0f"),
                alt.Tooltip("level_db:Q", title="level, dB", format=".1f"),
            ],
        )
        .properties(height=250)
    )
    return chart


def waveform_table(view: WaveformView) -> pd.DataFrame:
    """Returns start_s, end_s, low and high of each stretch."""
    return pd.DataFrame({"start_s": view.edges_s[:-1], "end_s": view.edges_s[1:], "low": view.low, "high": view.high})


def waveform(view: WaveformView) -> alt.Chart:
    """Returns lowest and highest value of the waveform over the seconds of the clip."""
    chart: alt.Chart = (
        alt.Chart(waveform_table(view))
        .mark_rect(color=palette.AUDIO, stroke=palette.AUDIO, strokeWidth=0.8)
        .encode(
            x=_seconds("start_s:Q", view.edges_s),
            x2="end_s:Q",
            y=alt.Y(
                "low:Q",
                scale=alt.Scale(domain=[-1, 1]),
                axis=alt.Axis(title="amplitude", values=[-1, 0, 1], grid=False, minExtent=AXIS_PX),
            ),
            y2="high:Q",
        )
        .properties(height=150)
    )
    return chart


def _seconds(field: str, edges_s: list[float]) -> alt.X:
    return alt.X(
        field,
        scale=alt.Scale(domain=[edges_s[0], edges_s[-1]], nice=False),
        axis=alt.Axis(title="seconds of the clip", grid=False, tickCount=5),
    )
