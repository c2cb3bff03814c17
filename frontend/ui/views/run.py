"""Page: one run. Head, then the tabs Live, Samples, Log and Configuration; all of it has an address."""

from __future__ import annotations

from typing import Final

import streamlit as st

from frontend.ui import links, words
from frontend.ui.feed import feed_of
from frontend.ui.panels import configuration, header, live, log, samples
from frontend.ui.service import client
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run

TICK_S: Final = 1.0
STALE: Final = "The API does not answer just now: this is the last that is known. Asking again each second."
TABS: Final = ["Live", "Samples", "Log", "Configuration"]


def page() -> None:
    """Draws the run that `?run=` names, or the newest."""
    run = _asked_for()
    if run is None:
        st.info("There is no run yet.", icon=":material/info:")
        links.link("new_run", "Start the first run", icon=":material/add_circle:")
        return
    header.told()
    header.head(run)
    if run.error:
        st.error(f"**{run.error.title}**  \n{run.error.detail}", icon=":material/error:")
    for title, tab in zip(TABS, st.tabs(TABS, key="tab", bind="query-params"), strict=True):
        if tab.open:
            with tab:
                _draw_tab(title, run)


def _draw_tab(title: str, run: Run) -> None:
    """Draws the open tab; Live and the line of figures above the others tick while the run is active."""
    if title != "Samples":
        samples.unpin()
    every = TICK_S if run.state in words.ACTIVE else None
    if title == "Live":
        st.fragment(run_every=every, key="tick")(_live)(run)
        return
    if every:
        st.fragment(run_every=2 * TICK_S, key="tick")(_progress)(run)
    {"Samples": samples.draw, "Log": log.draw, "Configuration": configuration.draw}[title](run)


def _live(drawn: Run) -> None:
    run = _latest(drawn)
    feed = feed_of(run.id)
    try:
        history = feed.advance(client())
    except GapscopeError:
        history = feed.history
    header.numbers(run)
    live.draw(run, history)


def _progress(drawn: Run) -> None:
    header.progress(_latest(drawn))


def _latest(drawn: Run) -> Run:
    """Returns the run as it is now; draws the whole page again when its state has changed since.

    Where the API does not answer, the page goes on showing what is known and says so.
    """
    if drawn.state in words.ENDED:
        return drawn
    try:
        run = client().run(drawn.id)
    except GapscopeError as error:
        st.warning(f"{STALE} ({error.detail})", icon=":material/cloud_off:")
        known: Run = st.session_state.get("last_run") or drawn
        return known if known.id == drawn.id else drawn
    st.session_state["last_run"] = run
    if run.state != drawn.state:
        st.rerun()
    return run


def _asked_for() -> Run | None:
    asked = st.query_params.get("run")
    if asked:
        return client().run(asked)
    newest = client().runs(limit=1, sort="-created_at").items
    if newest:
        st.query_params["run"] = newest[0].id
    return newest[0] if newest else None
