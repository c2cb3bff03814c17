"""Panel: a dataset whose files changed is prepared again, one that no run needs is deleted."""

from __future__ import annotations

from typing import Final

import streamlit as st

from frontend.ui import links, words
from frontend.ui.once import first_press
from frontend.ui.service import client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Dataset

SHOWN_RUNS: Final = 5


def draw(item: Dataset) -> None:
    """Draws what changed, and the buttons.

    Args:
        item: a dataset that is not being prepared.
    """
    if item.changed:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.warning(
                "Files behind this dataset were added, removed or changed since it was prepared. New runs train on "
                "what was prepared; runs that exist keep the data that they began on.",
                icon=":material/change_circle:",
            )
            if st.button("Prepare again", key="prepare_again") and first_press(f"prepare {item.id}"):
                _prepare(item.id)
    with st.popover("Delete", icon=":material/delete:"):
        _confirm(item)


def _confirm(item: Dataset) -> None:
    """Draws what deleting means, with the runs that it concerns, and the button."""
    if item.active_runs:
        st.markdown(f"In use by {words.count(len(item.active_runs), 'run')}: wait for them, or cancel them first.")
        _name_runs(item)
        return
    if item.num_runs:
        st.markdown(f"{words.count(item.num_runs, 'ended run')} will keep their results, but lose the clips:")
        _name_runs(item)
    what = "The prepared data and the uploaded clips are deleted" if item.upload else "The prepared data are deleted"
    own = "" if item.upload else " Your own files are not touched: they can be registered and prepared again."
    shared = " Another dataset shares the store, which stays." if item.shared else ""
    st.markdown(f"{what} **for good**; it cannot be undone.{own}{shared}")
    if st.button("Delete for good", key="delete_dataset", type="primary", icon=":material/delete_forever:") and (
        first_press(f"delete {item.id}")
    ):
        _delete(item.id)


def _name_runs(item: Dataset) -> None:
    for run in client().runs(dataset=item.id, limit=SHOWN_RUNS).items:
        links.link("run", words.plain(run.name), icon=":material/show_chart:", run=run.id)
    if item.num_runs > SHOWN_RUNS:
        st.caption(f"and {item.num_runs - SHOWN_RUNS:,} more")


def _prepare(dataset_id: str) -> None:
    try:
        client().prepare_dataset(dataset_id)
    except GapscopeError as error:
        show_error(error)
        return
    st.rerun()


def _delete(dataset_id: str) -> None:
    try:
        freed = client().delete_dataset(dataset_id)
    except GapscopeError as error:
        show_error(error)
        return
    st.session_state["told"] = f"Deleted {dataset_id}: {words.size(freed)} freed."
    st.query_params.pop("dataset", None)
    st.rerun()
