"""Page: all runs, found, filtered, sorted and paged by the API; what can be done with the ticked ones; the trash."""

from __future__ import annotations

from typing import Any, Final

import streamlit as st

from frontend.ui import links, notices, words
from frontend.ui.once import first_press
from frontend.ui.paging import Pager
from frontend.ui.panels import run_actions, run_table, trash
from frontend.ui.panels.header import told
from frontend.ui.service import catalog, client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import RunFacets

PAGE_SIZE: Final = 20
TICK_S: Final = 3.0
SORTS: Final = {
    "Newest first": "-created_at",
    "Oldest first": "created_at",
    "Name": "name",
    "By method": "objective",
    "By dataset": "dataset",
    "By state": "state",
    "Fused accuracy": "-accuracy_fused",
    "Widest gap": "-mean_abs_gap",
    "Smallest gap": "mean_abs_gap",
}
STATE_FILTER: Final = ("queued", "running", "finished", "failed", "cancelled")
DEMO: Final = ("demo-joint", "demo")
"""Presets of the demo: plain training, in which one modality falls behind, and the method that mends it."""
FILTERS: Final = ("text", "state", "objective", "tag", "dataset")


def page() -> None:
    """Draws the page."""
    told()
    in_trash = st.query_params.get("view") == "trash"
    head, buttons = st.columns([3, 2], vertical_alignment="center")
    head.title("Trash" if in_trash else "Runs", anchor=False)
    with buttons.container(horizontal=True, horizontal_alignment="right"):
        if not in_trash and st.button("Trash", key="open_trash", icon=":material/delete_sweep:", type="tertiary"):
            links.go("runs", view="trash")
        if st.button("New run", key="new_run", type="primary", icon=":material/add:", shortcut="N"):
            links.go("new_run")
    run_actions.undo_bar()
    if in_trash:
        trash.draw()
        return
    facets = client().facets()
    if not facets.states:  # nothing to filter
        _empty(filtered=False)
        return
    filters = _filters(facets)
    st.fragment(run_every=TICK_S if st.session_state.get("runs_active") else None, key="runs_tick")(_list)(filters)


def _filters(facets: RunFacets) -> dict[str, Any]:
    """Draws the filters, whose values stand in the address, and returns the API's parameters."""
    titles = {kind: entry["title"] for kind, entry in catalog()["objectives"].items()}
    methods = {titles.get(facet.value, facet.value): facet.value for facet in facets.objectives}
    states = {words.state_words(state): state for state in STATE_FILTER}
    find, state, method, tag, dataset, order = st.columns([2, 1.2, 1.7, 1.3, 1.5, 1.4])
    chosen = {
        "text": find.text_input(
            "Find", placeholder="Name, tag, note ...", key="find", bind="query-params", icon=":material/search:"
        ).strip()
        or None,
        "state": states.get(_one(state, "State", list(states), "state") or ""),
        "objective": methods.get(_one(method, "Method", sorted(methods), "method") or ""),
        "tag": _one(tag, "Tag", sorted(facet.value for facet in facets.tags), "tag"),
        "dataset": _one(dataset, "Dataset", sorted(facet.value for facet in facets.datasets), "on"),
    }
    sort = order.selectbox("Order", list(SORTS), key="order", bind="query-params")
    return {**chosen, "sort": SORTS[sort]}


def _one(place: Any, label: str, options: list[str], key: str) -> str | None:
    chosen: str | None = place.selectbox(label, options, index=None, placeholder="Any", key=key, bind="query-params")
    return chosen


def _list(filters: dict[str, Any]) -> None:
    """Draws one page of runs; ticks while one of them is active."""
    pager = Pager("runs", filters)
    try:
        found = client().runs(**filters, series=True, limit=PAGE_SIZE, cursor=pager.cursor)
    except GapscopeError as error:
        show_error(error)
        return
    at_work = [run.id for run in found.items if run.state in words.ACTIVE]
    for run_id in at_work:
        notices.watch("run", run_id)
    active = bool(at_work)
    if active != bool(st.session_state.get("runs_active")):
        st.session_state["runs_active"] = active
        st.rerun()
    if not found.items:
        _empty(any(filters[name] for name in FILTERS))
        return
    bar = st.container(horizontal=True, vertical_alignment="center", key="runs_bar")
    chosen = run_table.draw(found.items)
    with bar:
        run_actions.draw(chosen)
    pager.draw(found.next)


def _empty(filtered: bool) -> None:
    """Tells what to do where there is nothing."""
    if filtered:
        st.info("No run matches these filters.", icon=":material/filter_alt_off:")
        if st.button("Show all runs", key="clear_filters", icon=":material/filter_alt_off:"):
            for key in ("find", "state", "method", "tag", "on"):
                st.session_state.pop(key, None)
            links.go("runs")
        return
    with st.container(border=True, key="runs_empty"):
        st.subheader("No runs yet", anchor=False)
        st.markdown(
            "A run trains an audio-visual classifier and shows, epoch by epoch and clip by clip, how unevenly it "
            "learns from sound and picture.\n\n"
            "1. **Start the demo**: two runs on the same built-in clips, plain training and the GMM-guided adaptive "
            "loss. About a minute each on a CPU; nothing is downloaded.\n"
            "2. **Live** says which modality falls behind, with the numbers, as each epoch ends.\n"
            "3. **Samples** opens the clips with the widest gaps, with sound and picture.\n"
            "4. Tick both runs here and **Compare** them: what did the adaptive loss mend?\n\n"
            "Own clips? Register their folder under **Datasets** first."
        )
        with st.container(horizontal=True):
            started = st.button("Start the demo", key="start_demo", type="primary", icon=":material/rocket_launch:")
            if started and first_press("demo"):
                made = [client().create_run({"preset": preset}) for preset in DEMO]
                links.go("run", run=made[0].id)
            if st.button("Register a dataset", key="go_datasets", icon=":material/database:"):
                links.go("datasets")
