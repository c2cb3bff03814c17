"""Panel: the clips that preparation left out, counted by reason, with what to do, listed by pages and as a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pandas as pd
import streamlit as st

from frontend.ui import words
from frontend.ui.paging import Pager
from frontend.ui.service import browser_address, client
from worker.contract.resources import Dataset

REASONS: Final[dict[str, tuple[str, str]]] = {
    "media-no-audio": ("Picture only", "It has no sound. Put a wav of the same name beside it, or leave it out."),
    "media-no-visual": ("Sound only", "It has no picture, or is a sound file without a video of its name."),
    "media-no-streams": ("No track", "The file has neither sound nor picture: is it complete?"),
    "media-not-decodable": ("Cannot be decoded", "Play it; if that fails, get it again or convert it with ffmpeg."),
    "media-crashed": ("Breaks the decoder", "The decoder ended on it. Convert it with ffmpeg."),
    "media-timeout": ("Takes too long", "Decoding was ended. Cut it, or convert it with ffmpeg."),
    "media-empty": ("Nothing in it", "The file has no frames or samples in the window: is it complete?"),
    "media-not-found": ("File missing", "Put it where it is expected, then prepare again."),
    "media-too-large": ("Too large", "Scale or cut it with ffmpeg."),
    "media-bad-range": ("Range outside the clip", "Check start_s and end_s in the list."),
    "media-outside-roots": ("Not open to users", "It lies outside of GAPSCOPE_DATA_ROOTS, or of the zip."),
    "not-a-clip": ("No clip", "A file of another kind: nothing to do, or convert it."),
    "bad-name": ("Name is no text", "Rename it: names must be UTF-8."),
    "group-in-two-splits": (
        "Group in two splits",
        "Another clip of its group stands in a stronger split: as intended.",
    ),
}
"""code -> what it means in a few words, and what to do."""


def reasons_table(left_out: Mapping[str, int]) -> pd.DataFrame:
    """Returns reason, clips and what to do, for each code."""
    rows = [
        {"reason": REASONS.get(code, (code, ""))[0], "clips": number, "remedy": REASONS.get(code, ("", ""))[1]}
        for code, number in left_out.items()
    ]
    return pd.DataFrame(rows, columns=["reason", "clips", "remedy"])


def draw(item: Dataset) -> None:
    """Draws the panel.

    Args:
        item: a dataset that is ready.
    """
    if not item.num_skipped:
        st.success("Every clip could be used.", icon=":material/check_circle:")
        return
    st.markdown(f"{words.count(item.num_skipped, 'clip')} left out; runs train on the rest.")
    column = st.column_config
    st.dataframe(
        reasons_table(item.left_out),
        hide_index=True,
        key="left_out_reasons",
        column_config={
            "reason": column.TextColumn("Reason", width=200),
            "clips": column.NumberColumn("Clips", width=80),
            "remedy": column.TextColumn("What to do", width="large"),
        },
    )
    st.caption("Once files are mended or added, “Prepare again” takes them in; what is prepared already is kept.")
    pager = Pager("skipped", {"dataset": item.id})
    found = client().skipped(item.id, limit=50, cursor=pager.cursor)
    rows = [{"clip": one.path or one.sample_id, "reason": one.reason, "code": one.code} for one in found.items]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        placeholder=words.NONE,
        key="skipped_table",
        column_config={
            "clip": column.TextColumn("Clip", width="medium"),
            "reason": column.TextColumn("Reason", width="large"),
            "code": column.TextColumn("Code", width="small"),
        },
    )
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        address = browser_address(f"/api/v1/datasets/{item.id}/skipped/export?format=csv")
        st.link_button("All of them as CSV", address, icon=":material/download:")
        pager.draw(found.next)
