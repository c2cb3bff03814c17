"""The buttons of the Run page: what can be done with this run, each way with its address or its question."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import streamlit as st

from frontend.ui import links
from frontend.ui.once import first_press
from frontend.ui.panels import run_actions
from frontend.ui.service import client
from frontend.ui.words import ENDED
from worker.contract.resources import Run

MOST_COMPARED: Final = 8
NEWEST: Final = 50
"""Finished runs among which one of another method is looked for."""


def relatives(run: Run) -> list[str]:
    """Returns the ids to compare a run with: itself, the runs it builds on, and the newest that build on it."""
    above = [origin.run_id for origin in run.derived_from]
    return list(dict.fromkeys([run.id, *above, *run.derived_runs[::-1]]))[:MOST_COMPARED]


def rival(run: Run, others: Iterable[Run]) -> str | None:
    """Returns the run of another method to compare a run with, None where there is none: with its seed if possible.

    Args:
        run: one that no other builds on.
        others: finished runs on its dataset, newest first.
    """
    of_other_methods = [other for other in others if other.spec.objective.kind != run.spec.objective.kind]
    same_seed = [other for other in of_other_methods if other.spec.seed == run.spec.seed]
    return next((other.id for other in same_seed or of_other_methods), None)


def _compared(run: Run) -> list[str]:
    ids = relatives(run)
    if len(ids) == 1 and run.resolved_spec is not None:
        dataset = run.resolved_spec.dataset_id
        newest = client().runs(state="finished", dataset=dataset, limit=NEWEST, sort="-created_at").items
        ids += filter(None, [rival(run, newest)])
    return ids


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
        help="With the runs that it builds on and those that build on it, else with the newest of another method; "
        "others can be added there.",
    ):
        links.go("compare", runs=",".join(_compared(run)))
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
