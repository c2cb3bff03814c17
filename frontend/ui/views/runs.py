"""Page: all runs, filtered, sorted and paged by the API; what can be done with the chosen ones."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import streamlit as st

from frontend.ui import links, words
from frontend.ui.once import first_press
from frontend.ui.paging import Pager
from frontend.ui.panels.header import dataset_words, run_title, told
from frontend.ui.service import catalog, client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run

PAGE_SIZE: Final = 20
SORTS: Final = {
    "Newest first": "-created_at",
    "Oldest first": "created_at",
    "Name": "name",
    "Fused accuracy": "-accuracy_fused",
    "Widest gap": "-mean_abs_gap",
    "Smallest gap": "mean_abs_gap",
}
STATE_FILTER: Final = ("queued", "running", "finished", "failed", "cancelled")


def page() -> None:
    """Draws the page."""
    told()
    head, button = st.columns([4, 1], vertical_alignment="center")
    head.title("Runs", anchor=False)
    with button.container(horizontal_alignment="right"):
        if st.button("New run", key="new_run", type="primary", icon=":material/add:"):
            links.go("new_run")
    filters = _filters()
    st.fragment(run_every=3.0 if st.session_state.get("runs_active") else None, key="runs_tick")(_list)(filters)


def _filters() -> dict[str, Any]:
    """Draws the filters and returns the API's parameters."""
    state, method, tag, dataset, sort = st.columns([1.2, 1.6, 1.2, 1.6, 1.2])
    methods = {kind: entry["title"] for kind, entry in catalog()["objectives"].items()}
    chosen = {
        "state": state.selectbox(
            "State", STATE_FILTER, index=None, format_func=words.state_words, placeholder="Any", key="filter_state"
        ),
        "objective": method.selectbox(
            "Method", list(methods), index=None, format_func=methods.__getitem__, placeholder="Any", key="filter_method"
        ),
        "tag": tag.text_input("Tag", placeholder="Any", key="filter_tag").strip() or None,
        "dataset": dataset.text_input("Dataset", placeholder="Any id or kind", key="filter_dataset").strip() or None,
    }
    order = sort.selectbox("Order", list(SORTS), key="runs_sort")
    return {**chosen, "sort": SORTS[order]}


def _list(filters: dict[str, Any]) -> None:
    """Draws one page of runs; ticks while one of them is active."""
    pager = Pager("runs", filters)
    try:
        found = client().runs(**filters, limit=PAGE_SIZE, cursor=pager.cursor)
    except GapscopeError as error:
        show_error(error)
        return
    active = any(run.state in words.ACTIVE for run in found.items)
    if active != bool(st.session_state.get("runs_active")):
        st.session_state["runs_active"] = active
        st.rerun()
    if not found.items:
        _empty(any(filters[name] for name in ("state", "objective", "tag", "dataset")))
        return
    bar = st.container(horizontal=True, vertical_alignment="center", key="runs_bar")
    chosen = _table(found.items)
    with bar:
        _actions(chosen)
    pager.draw(found.next)


def _empty(filtered: bool) -> None:
    """Tells what to do where there is nothing."""
    if filtered:
        st.info("No run matches these filters.", icon=":material/filter_alt_off:")
        return
    with st.container(border=True, key="runs_empty"):
        st.subheader("No runs yet", anchor=False)
        st.markdown(
            "A run trains an audio-visual classifier and shows, epoch by epoch and clip by clip, how unevenly it "
            "learns from sound and picture.\n\n"
            "1. **Start the demo**: built-in clips, about a minute on a CPU. Nothing is downloaded.\n"
            "2. Open it: the **Live** tab draws each epoch as it ends.\n"
            "3. Look at single clips under **Samples**, or upload your own under **Test a clip**.\n\n"
            "Own clips? Register their folder under **Datasets** first."
        )
        with st.container(horizontal=True):
            started = st.button("Start the demo", key="start_demo", type="primary", icon=":material/rocket_launch:")
            if started and first_press("demo"):
                made = client().create_run({"preset": "demo"})
                links.go("run", run=made.id)
            if st.button("Register a dataset", key="go_datasets", icon=":material/database:"):
                links.go("datasets")


def row_of(run: Run) -> dict[str, Any]:
    """Returns what the table shows of a run."""
    progress, summary = run.progress, run.summary
    left = f" · {words.duration(progress.eta_s)} left" if run.state == "running" and progress.eta_s is not None else ""
    return {
        "open": "Open",
        "name": run_title(run),
        "state": words.state_words(run.state),
        "method": run.spec.objective.kind,
        "dataset": dataset_words(run),
        "progress": 100 * progress.fraction,
        "epoch": f"{progress.epoch} of {progress.epochs}{left}",
        "fused": None if summary is None or summary.accuracy.fused is None else 100 * summary.accuracy.fused,
        "gap": None if summary is None else summary.mean_abs_gap,
        "tags": list(run.tags),
        "created": words.ago(run.created_at),
    }


def _table(runs: list[Run]) -> list[Run]:
    """Draws the table and returns the ticked runs."""
    titles = {kind: entry["title"] for kind, entry in catalog()["objectives"].items()}
    table = pd.DataFrame([row_of(run) for run in runs])
    table["method"] = [titles.get(kind, kind) for kind in table["method"]]
    column = st.column_config
    event = st.dataframe(
        table,
        key="runs_table_" + str(abs(hash(tuple(run.id for run in runs)))),
        hide_index=True,
        placeholder=words.NONE,
        on_select="rerun",
        selection_mode="multi-row",
        row_height=38,
        height=38 * (len(runs) + 1) + 3,
        column_config={
            "open": column.ButtonColumn("", key="runs_open", type="tertiary", width=55),
            "name": column.TextColumn("Name", width=190),
            "state": column.TextColumn("State", width=95),
            "method": column.TextColumn("Method", width=165),
            "dataset": column.TextColumn("Dataset", width=72),
            "progress": column.ProgressColumn("Progress", min_value=0, max_value=100, format="%.0f %%", width=90),
            "epoch": column.TextColumn("Epoch", width=125),
            "fused": column.NumberColumn(
                "Fused", format="%.1f %%", help="Accuracy on validation, newest epoch.", width=64
            ),
            "gap": column.NumberColumn("Mean |gap|", format="%.2f", help=words.GAP_HELP, width=76),
            "tags": column.ListColumn("Tags", width=56),
            "created": column.TextColumn("Created", width=92),
        },
    )
    clicked = st.session_state.get("runs_open")
    if clicked is not None and clicked["row"] < len(runs):
        links.go("run", run=runs[clicked["row"]].id)
    return [runs[row] for row in event.selection.rows if row < len(runs)]


def _actions(chosen: list[Run]) -> None:
    """Draws what can be done with the ticked runs."""
    if not chosen:
        st.caption("Tick runs to compare, clone, cancel, resume or delete them; Open shows one.")
        return
    st.markdown(f"**{words.count(len(chosen), 'run')}**", width="content")
    one = chosen[0] if len(chosen) == 1 else None
    if one and st.button("Open", key="open_chosen", icon=":material/open_in_new:"):
        links.go("run", run=one.id)
    if len(chosen) > 1 and st.button(
        "Compare", key="compare_chosen", icon=":material/stacked_line_chart:", type="primary"
    ):
        links.go("compare", runs=",".join(run.id for run in chosen))
    for label, key, icon, allowed in (
        ("Clone", "clone", "content_copy", words.ACTIVE | words.ENDED),
        ("Cancel", "cancel", "stop_circle", frozenset({"queued", "running", "lost"})),
        ("Resume", "resume", "play_arrow", frozenset({"failed", "cancelled"})),
    ):
        fit = [run.id for run in chosen if run.state in allowed]
        if fit:
            st.button(label, key=f"{key}_chosen", icon=f":material/{icon}:", on_click=_do, args=(key, fit))
    ended = [run for run in chosen if run.state in words.ENDED]
    if ended and st.button("Delete", key="delete_chosen", icon=":material/delete:"):
        _confirm_delete(ended)


def _do(what: str, run_ids: list[str]) -> None:
    """Does an action for each run; the first error is told."""
    if not first_press(f"{what} {run_ids}"):
        return
    api = client()
    does = {"clone": api.clone, "cancel": api.cancel, "resume": api.resume}[what]
    try:
        for run_id in run_ids:
            does(run_id)
    except GapscopeError as error:
        st.session_state["told_error"] = error
        return
    done = {"clone": "Cloned", "cancel": "Cancelling", "resume": "Resumed"}[what]
    st.session_state["told"] = f"{done}: {words.count(len(run_ids), 'run')}."


@st.dialog("Delete runs?", icon=":material/delete:")
def _confirm_delete(runs: list[Run]) -> None:
    """Asks before deleting, and says how many bytes it frees."""
    st.markdown("\n".join(f"- {run_title(run)} ({words.state_words(run.state).lower()})" for run in runs))
    purge = st.toggle(
        "Free the space at once",
        key="delete_purge",
        help="Off: they stay in the trash for a while and can be brought back.",
    )
    if st.button("Delete", key="delete_confirmed", type="primary", icon=":material/delete:"):
        try:
            answers = [client().delete(run.id, purge=purge) for run in runs]
        except GapscopeError as error:
            show_error(error)
            return
        name = "freed_bytes" if purge else "reclaimable_bytes"
        num_bytes = words.size(sum(int(answer[name]) for answer in answers))
        st.session_state["told"] = (
            f"Deleted; {num_bytes} {'freed' if purge else 'will be freed when the trash is emptied'}."
        )
        st.rerun()
