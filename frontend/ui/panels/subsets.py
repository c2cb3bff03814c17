"""On the Samples tab: the saved subsets of the run's dataset, their versions, and what can be done with them."""

from __future__ import annotations

from typing import Final

import pandas as pd
import streamlit as st

from frontend.ui import links, words
from frontend.ui.once import first_press
from frontend.ui.service import browser_address, client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run
from worker.contract.subsets import Subset

MOST: Final = 100


def draw(run: Run, dataset_id: str) -> None:
    """Draws the list, closed at first.

    Args:
        run: whose page it is.
        dataset_id: of the run.
    """
    box = st.expander("Saved subsets of this dataset", icon=":material/bookmarks:", key="subsets", on_change="rerun")
    if not box.open:
        return
    with box:
        try:
            found = client().subsets(dataset=dataset_id, limit=MOST).items
        except GapscopeError as error:
            show_error(error)
            return
        if not found:
            st.caption(
                "None yet. Filter the clips above, then “Save as subset”: saved again under its name, it gets a new "
                "version, and the earlier one stays."
            )
            return
        chosen = _table(found)
        if chosen is not None:
            _actions(run, chosen)


def subset_table(subsets: list[Subset]) -> pd.DataFrame:
    """Returns what the list shows of each subset."""
    rows = [
        (
            one.name,
            one.version,
            one.num_samples,
            len(one.class_counts),
            one.run_id,
            one.epoch,
            words.ago(one.created_at),
        )
        for one in subsets
    ]
    return pd.DataFrame(rows, columns=["name", "version", "clips", "classes", "run", "epoch", "saved"])


def _table(found: list[Subset]) -> Subset | None:
    event = st.dataframe(
        subset_table(found),
        key="subsets_table_" + str(abs(hash(tuple(one.id for one in found)))),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "name": "Name",
            "version": st.column_config.NumberColumn("Version", width=70),
            "clips": st.column_config.NumberColumn("Clips", width=70),
            "classes": st.column_config.NumberColumn("Classes", width=70),
            "run": "Chosen in the run",
            "epoch": st.column_config.NumberColumn("Epoch", width=60),
            "saved": "Saved",
        },
    )
    rows = event.selection.rows
    return found[rows[0]] if rows and rows[0] < len(found) else None


def _actions(run: Run, chosen: Subset) -> None:
    try:
        used_by = client().subset(chosen.id).derived_runs
    except GapscopeError as error:
        show_error(error)
        return
    st.markdown(f"**{words.plain(chosen.name)}**, version {chosen.version}")
    with st.container(horizontal=True):
        if st.button("New run on it", key="subset_new_run", icon=":material/add_circle:"):
            links.go("new_run", subset=chosen.id)
        if st.button("Fine-tune this run on it", key="subset_fine_tune", icon=":material/tune:"):
            links.go("new_run", subset=chosen.id, start_from=run.id)
        for kind, label in (("csv", "CSV"), ("parquet", "Parquet")):
            address = f"/api/v1/subsets/{chosen.id}/export?format={kind}"
            st.link_button(label, browser_address(address), icon=":material/download:")
        if st.button("Delete", key="subset_delete", icon=":material/delete:"):
            _confirm(chosen, len(used_by))
    with st.container(horizontal=True):
        for run_id in used_by:
            links.link("run", f"Used by {run_id}", icon=":material/subdirectory_arrow_right:", run=run_id)


@st.dialog("Delete this subset?", icon=":material/delete:")
def _confirm(chosen: Subset, num_runs: int) -> None:
    st.markdown(
        f"**{words.plain(chosen.name)}**, version {chosen.version}, {words.count(chosen.num_samples, 'clip')}. This is "
        f"final. {words.count(num_runs, 'run')} on it keep their own copy; no new run can name it."
    )
    if st.button("Delete", key="subset_delete_confirmed", type="primary") and first_press(f"delete {chosen.id}"):
        try:
            client().delete_subset(chosen.id)
        except GapscopeError as error:
            show_error(error)
            return
        st.session_state["told"] = f"Deleted the subset “{chosen.name}”, version {chosen.version}."
        st.rerun()
