"""The buttons of the Run page: what can be done with this run, each way with its address or its question."""

from __future__ import annotations

from typing import Final

import streamlit as st

from frontend.ui import links
from frontend.ui.once import first_press
from frontend.ui.panels import run_actions
from frontend.ui.service import client
from frontend.ui.words import ENDED
from worker.contract.resources import Run

MOST_COMPARED: Final = 8


def relatives(run: Run) -> list[str]:
    """Returns the ids to compare a run with: itself, the runs it builds on, and the newest that build on it."""
    above = [origin.run_id for origin in run.derived_from]
    return list(dict.fromkeys([run.id, *above, *run.derived_runs[::-1]]))[:MOST_COMPARED]


def draw(run: Run) -> None:
    """Draws the buttons that the run's state allows."""
    if run.state in run_actions.CANCELLABLE and st.button("Cancel", key="cancel_run", icon=":material/stop_circle:"):
        run_actions.confirm_cancel([run])
    if run.state in run_actions.RESUMABLE and st.button(
        "Resume",
        key="resume_run",
        icon=":material/play_arrow:",
        type="primary",
        help="Goes on after the last finished epoch.",
    ):
        _resume(run)
    if st.button("Clone", key="clone_run", icon=":material/content_copy:", help="A new run, prefilled with this one."):
        links.go("new_run", clone=run.id)
    if st.button(
        "Compare",
        key="compare_run",
        icon=":material/stacked_line_chart:",
        help="With the runs that it builds on and those that build on it; others can be added there.",
    ):
        links.go("compare", runs=",".join(relatives(run)))
    if st.button("Test a clip", key="run_test_clip", icon=":material/movie:", disabled=run.summary is None):
        links.go("test_clip", run=run.id)
    if run.state in ENDED and st.button(
        "Delete", key="delete_run", icon=":material/delete:", help="Asks first; can be undone for a while."
    ):
        run_actions.confirm_delete([run])


def deleted(run_id: str) -> bool:
    """Draws, in place of a run that was deleted a moment ago, that it was and the way back; returns whether it was."""
    if run_id not in st.session_state.get(run_actions.DELETED, ()):
        return False
    run_actions.undo_bar()
    links.link("runs", "All runs", icon=":material/list:")
    return True


def _resume(run: Run) -> None:
    if first_press(f"resume {run.id}"):
        run_actions.tell("Resumed after the last finished epoch", *run_actions.each([run], client().resume))
        st.rerun()
