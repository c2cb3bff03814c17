"""The Log tab: the newest lines of the run's processes."""

from __future__ import annotations

from typing import Final

import streamlit as st

from frontend.ui import words
from frontend.ui.service import client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run

LINES: Final = (100, 500, 2_000)


def draw(run: Run) -> None:
    """Draws the log; it follows while the run is active."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        lines = st.selectbox("Newest lines", LINES, key="log_lines", width=140)
        st.button("Refresh", key="log_refresh", icon=":material/refresh:")
    every = 2.0 if run.state in words.ACTIVE else None
    st.fragment(run_every=every, key="log_tick")(_lines)(run.id, lines)


def _lines(run_id: str, lines: int) -> None:
    try:
        text = client().log(run_id, tail=lines)
    except GapscopeError as error:
        show_error(error)
        return
    if not text.strip():
        st.info("The run's processes have written nothing yet.", icon=":material/info:")
        return
    with st.container(height=620, border=False, autoscroll=True, key="log_text"):
        st.code(text, language=None, wrap_lines=True, line_numbers=False)
