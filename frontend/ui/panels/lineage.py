"""Below the head of the Run page: links to the runs that it derives from, and to those that derive from it."""

from __future__ import annotations

from typing import Final

import streamlit as st

from frontend.ui import words
from frontend.ui.links import link
from worker.contract.resources import Run
from worker.contract.subsets import Origin

MAX_LINKS: Final = 8
"""Derived runs that are linked; the rest is counted."""


def origin_words(origin: Origin) -> str | None:
    """Returns what a run has from another one; None for what its method names, which the configuration links."""
    if origin.through == "start_from":
        epoch = "" if origin.epoch is None else f" of epoch {origin.epoch}"
        return f"Starts from the weights{epoch}: {origin.run_id}"
    if origin.through == "subset":
        return f"Trains on “{origin.subset_name}”, samples of epoch {origin.epoch}: {origin.run_id}"
    return None


def draw(run: Run) -> None:
    """Draws the links; nothing for a run that stands alone."""
    above = [(text, origin.run_id) for origin in run.derived_from if (text := origin_words(origin)) is not None]
    newest = run.derived_runs[-MAX_LINKS:][::-1]
    if not above and not newest:
        return
    with st.container(horizontal=True, key="lineage"):
        for text, run_id in above:
            link("run", words.plain(text), icon=":material/account_tree:", run=run_id)
        for run_id in newest:
            link("run", f"Builds on this run: {run_id}", icon=":material/subdirectory_arrow_right:", run=run_id)
        if len(run.derived_runs) > len(newest):
            st.caption(f"and {len(run.derived_runs) - len(newest)} more")
