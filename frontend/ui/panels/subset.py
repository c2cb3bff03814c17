"""On the Samples tab: save the training clips that pass the filters as a subset, or fine-tune on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from frontend.ui.fine_tuning import fine_tuning_spec
from frontend.ui.once import first_press
from frontend.ui.service import client
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run
from worker.contract.subsets import Subset

NOT_IN_A_SUBSET: Final = frozenset({"sort", "split", "epoch"})


def chosen_filter(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the filter of a subset from the tab's filters: what is chosen, without order, split and epoch."""
    return {name: value for name, value in filters.items() if value is not None and name not in NOT_IN_A_SUBSET}


def draw(run: Run, filters: Mapping[str, Any]) -> None:
    """Draws the button that opens what can be done with the clips of these filters."""
    with st.popover("Save as subset", icon=":material/bookmark_add:", key="subset_popover"):
        st.caption(
            f"The **training** clips that pass these filters at epoch {filters['epoch']}, whichever split is shown: "
            "validation and test clips never enter a subset."
        )
        name = st.text_input("Name", key="subset_name", max_chars=120, placeholder="such as similar scores, right")
        with st.container(horizontal=True):
            st.button(
                "Save as subset",
                key="save_subset",
                icon=":material/bookmark_add:",
                on_click=_save,
                args=(run, dict(filters), name),
                disabled=not name.strip(),
            )
            st.button(
                "Fine-tune on selected samples",
                key="fine_tune",
                icon=":material/tune:",
                on_click=_fine_tune,
                args=(run, dict(filters), name),
                disabled=not name.strip() or run.state != "finished",
                help="Launches a run that begins with this run's last weights and trains the fused prediction on the "
                "subset, for a tenth of the epochs at a tenth of the learning rate. The run must be finished.",
            )


def _subset(run: Run, filters: dict[str, Any], name: str) -> Subset:
    return client().save_subset(name.strip(), run.id, filter=chosen_filter(filters), epoch=filters["epoch"])


def _save(run: Run, filters: dict[str, Any], name: str) -> None:
    if not first_press(f"subset {run.id} {name}"):
        return
    try:
        subset = _subset(run, filters, name)
    except GapscopeError as error:
        st.session_state["told_error"] = error
        return
    st.session_state["told"] = (
        f"Saved “{subset.name}”, version {subset.version}: {subset.num_samples} training clips ({subset.id})."
    )


def _fine_tune(run: Run, filters: dict[str, Any], name: str) -> None:
    if not first_press(f"fine-tune {run.id} {name}"):
        return
    try:
        subset = _subset(run, filters, name)
        made = client().create_run(fine_tuning_spec(run, subset))
    except GapscopeError as error:
        st.session_state["told_error"] = error
        return
    st.session_state["told"] = f"Launched “{made.name}” on {subset.num_samples} training clips."
    st.query_params["run"] = made.id
    st.query_params["tab"] = "Live"
