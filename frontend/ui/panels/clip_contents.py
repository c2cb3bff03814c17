"""Panel: what the model sees and hears of a clip, from its prepared store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import streamlit as st

from frontend.ui import words
from frontend.ui.charts import clip_contents as charts
from frontend.ui.charts.saving import Caption
from frontend.ui.components.playhead import TimeChart, playhead
from frontend.ui.panels import chart
from frontend.ui.service import browser_address, client, show_error
from worker.contract.clip_contents import ClipContents, WaveformView
from worker.contract.errors import GapscopeError

PLAYER: Final = "clip_player"
WAVEFORM: Final = "clip_waveform"
SPECTROGRAM: Final = "clip_spectrogram"
"""Keys of the containers of the player and of the charts over which the playhead runs."""
FRAME_WIDTH: Final = 140
"""Pixels of a frame on the screen, where there is room."""


def times_words(contents: ClipContents) -> str:
    """Returns when the frames on the strip were taken and which part of the clip the model gets, in a sentence."""
    start, end = contents.start_s, contents.start_s + contents.duration_s
    window = f"The model gets {start:.2f} to {end:.2f} s of the clip"
    if not contents.frame_times_s:
        return f"{window}; it has no picture."
    times = ", ".join(f"{time:.2f}" for time in contents.frame_times_s)
    return f"{window}; frames at {times} s."


def draw(dataset_id: str, sample_id: str, media: Mapping[str, str], caption: Caption) -> None:
    """Draws the frames, the waveform, which may have to be decoded first, and the spectrogram.

    Args:
        dataset_id: the prepared dataset.
        sample_id: its clip.
        media: name -> address, as the API gives them (`frames`).
        caption: what the charts show, for the files.
    """
    try:
        contents = client().clip_contents(dataset_id, sample_id)
    except GapscopeError as error:
        show_error(error)
        return
    st.markdown("###### What the model sees and hears", anchors=False)
    if contents.has_visual and "frames" in media:
        st.image(
            browser_address(media["frames"]),
            width=FRAME_WIDTH * max(1, len(contents.frame_times_s)),
            alt=times_words(contents),
        )
    st.caption(times_words(contents))
    if not contents.has_audio or contents.spectrogram is None:
        st.caption("The clip has no sound.")
        return
    place = st.container(key=WAVEFORM)  # it is filled last: the sound may have to be decoded
    with st.container(key=SPECTROGRAM):
        chart.draw(
            charts.spectrogram(contents.spectrogram),
            key=f"chart_{SPECTROGRAM}",
            title=charts.TITLES[contents.spectrogram.kind],
            caption=caption,
            level=6,
        )
    with place:
        waveform = _waveform(dataset_id, contents, caption)
    drawn = ((WAVEFORM, waveform), (SPECTROGRAM, contents.spectrogram))
    on_seconds = [TimeChart(key, view.edges_s[0], view.edges_s[-1]) for key, view in drawn if view is not None]
    playhead(PLAYER, on_seconds, key="clip_playhead")


def _waveform(dataset_id: str, contents: ClipContents, caption: Caption) -> WaveformView | None:
    try:
        view = contents.waveform or client().clip_waveform(dataset_id, contents.sample_id)
    except GapscopeError as error:
        st.caption(f"No waveform: {words.message(str(error))}")
        return None
    chart.draw(charts.waveform(view), key=f"chart_{WAVEFORM}", title="Waveform", caption=caption, level=6)
    return view
