"""Players: the browser fetches sound and picture from the API itself."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from frontend.ui.service import browser_address


def player(media: Mapping[str, str], *, width: int | None = None) -> None:
    """Draws a player for a clip, and one for its sound where that is a file of its own.

    Args:
        media: track -> address, as the API gives them (`video`, `audio`).
        width: pixels; the container's width by default.
    """
    video, audio = media.get("video"), media.get("audio")
    if video:
        st.video(browser_address(video), width=width or "stretch")
    if audio and audio != video:
        st.audio(browser_address(audio))
    if not video and not audio:
        st.caption("The API has no media of this clip.")
