"""Page: one run. Head, then its tabs; all of it has an address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import streamlit as st

from frontend.ui import incidents, links, notices, viewers, words
from frontend.ui.feed import feed_of
from frontend.ui.history import History
from frontend.ui.panels import (
    configuration,
    confusion,
    export,
    header,
    lineage,
    live,
    log,
    run_actions,
    run_buttons,
    samples,
)
from frontend.ui.service import client, show_error
from worker.contract.errors import GapscopeError, NotFoundError
from worker.contract.resources import Run

STALE: Final = "The API does not answer just now: this is the last that is known. Asking again each second."
TABS: Final = ["Live", "Samples", "Confusion", "Log", "Configuration", "Export"]


def page() -> None:
    """Draws the run that `?run=` names, or the newest."""
    if run_buttons.deleted(st.query_params.get("run", "")):
        return
    try:
        run = _asked_for()
    except NotFoundError as error:
        st.title("Run", anchor=False)
        show_error(error)
        links.link("runs", "All runs", icon=":material/list_alt:")
        return
    if run is None:
        st.title("Run", anchor=False)
        with st.container(border=True, key="run_empty"):
            st.subheader("No run yet", anchor=False)
            st.markdown("This page shows a run as it trains: its score gaps, accuracies and clips, epoch by epoch.")
            if st.button("Start a run", key="go_new_run", type="primary", icon=":material/add:"):
                links.go("new_run")
        return
    st.set_page_config(page_title=f"{header.run_title(run)} · Gapscope")
    if run.state in words.ACTIVE:
        notices.watch("run", run.id)
    if waited := header.waited_dataset(run):
        notices.watch("dataset", waited)
    header.told()
    run_actions.refusals()
    header.head(run, run_buttons.draw)
    lineage.draw(run)
    if run.error:
        st.error(f"**{words.plain(run.error.title)}**  \n{words.message(run.error.detail)}", icon=":material/error:")
    for title, tab in zip(TABS, st.tabs(TABS, key="tab", bind="query-params"), strict=True):
        if tab.open:
            with tab:
                _draw_tab(title, run)


def _draw_tab(title: str, run: Run) -> None:
    """Draws the open tab; Live and the line of figures above the others tick while the run is active."""
    if title != "Samples":
        samples.unpin()
    every = viewers.tick_s() if run.state in words.ACTIVE else None
    if title == "Live":
        st.fragment(run_every=every, key="tick")(_live)(run)
        return
    if every:
        st.fragment(run_every=2 * every, key="tick")(_progress)(run)
    _STILL[title](run)


_STILL: Final[dict[str, Callable[[Run], None]]] = {
    "Samples": samples.draw,
    "Confusion": confusion.draw,
    "Log": log.draw,
    "Configuration": configuration.draw,
    "Export": export.draw,
}
"""Tabs that do not change by themselves while one reads them."""


def _live(drawn: Run) -> None:
    run = _latest(drawn)
    feed = feed_of(run.id)
    try:
        history = feed.advance(client())
    except GapscopeError:
        history = feed.history
    header.numbers(run)
    _incidents(run, history)
    live.draw(run, history)


def _incidents(run: Run, history: History) -> None:
    """Draws that a run was interrupted, and how it went on; nothing for an undisturbed one."""
    said = incidents.summary(history)
    if said is not None:
        with st.expander(said, icon=":material/sync:", key=f"incidents_{run.id}"):
            for sentence in incidents.sentences(history):
                st.markdown(f"- {sentence}")


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
        st.warning(f"{STALE} ({words.message(error.detail)})", icon=":material/cloud_off:")
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
