"""The trash: deleted runs, until when they can be brought back, and what deleting them for good frees."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st

from frontend.ui import links, words
from frontend.ui.paging import Pager
from frontend.ui.panels.run_actions import restore
from frontend.ui.service import catalog, client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import TrashedRun

PAGE_SIZE = 20


def row_of(item: TrashedRun, now: datetime | None = None) -> dict[str, Any]:
    """Returns what the table shows of a deleted run."""
    left_s = (item.empties_at - (now or datetime.now(UTC))).total_seconds()
    return {
        "name": item.name,
        "method": item.objective or words.NONE,
        "state": words.state_words(item.state) if item.state else words.NONE,
        "tags": list(item.tags),
        "deleted": words.ago(item.deleted_at, now),
        "left": words.duration(left_s) if left_s > 0 else "any moment",
        "size": words.size(item.num_bytes),
    }


def draw() -> None:
    """Draws the page."""
    if st.button("All runs", key="leave_trash", icon=":material/arrow_back:"):
        links.go("runs")
    pager = Pager("trash", {})
    try:
        found = client().trash(limit=PAGE_SIZE, cursor=pager.cursor)
    except GapscopeError as error:
        show_error(error)
        return
    if not found.items:
        st.info("The trash is empty. Deleted runs stay here for a while.", icon=":material/delete:")
        return
    bar = st.container(horizontal=True, vertical_alignment="center", key="trash_bar")
    chosen = _table(found.items)
    with bar:
        _actions(chosen, found.items, more=found.next is not None or pager.number > 1)
    pager.draw(found.next)


def _table(items: list[TrashedRun]) -> list[TrashedRun]:
    titles = {kind: entry["title"] for kind, entry in catalog()["objectives"].items()}
    table = pd.DataFrame([row_of(item) for item in items])
    table["method"] = [titles.get(kind, kind) for kind in table["method"]]
    column = st.column_config
    event = st.dataframe(
        table,
        key="trash_table_" + str(abs(hash(tuple(item.id for item in items)))),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            "name": column.TextColumn("Name"),
            "method": column.TextColumn("Method"),
            "state": column.TextColumn("Ended as"),
            "tags": column.ListColumn("Tags"),
            "deleted": column.TextColumn("Deleted"),
            "left": column.TextColumn("Deleted for good in", help="Sooner when the disk is nearly full."),
            "size": column.TextColumn("Size"),
        },
        alt=f"Table of {words.count(len(items), 'deleted run')}.",
    )
    return [items[row] for row in event.selection.rows if row < len(items)]


def _actions(chosen: list[TrashedRun], items: list[TrashedRun], *, more: bool) -> None:
    if chosen:
        st.markdown(f"**{words.count(len(chosen), 'run')}**", width="content")
        if st.button("Bring back", key="restore_chosen", type="primary", icon=":material/undo:"):
            restore([item.id for item in chosen])
        if st.button("Delete for good", key="purge_chosen", icon=":material/delete_forever:"):
            _confirm(chosen, everything=False)
        return
    st.caption("Tick runs to bring them back.")
    if st.button("Empty the trash", key="empty_trash", icon=":material/delete_forever:"):
        _confirm(items, everything=True, more=more)


@st.dialog("Delete for good?", icon=":material/delete_forever:")
def _confirm(items: list[TrashedRun], *, everything: bool, more: bool = False) -> None:
    what = "All that lies in the trash" if everything and more else words.count(len(items), "run")
    st.warning(f"{what} will be gone: nobody can bring it back.", icon=":material/warning:")
    if not st.button("Delete for good", key="purge_confirmed", type="primary", icon=":material/delete_forever:"):
        return
    api = client()
    try:
        freed = api.empty_trash() if everything else sum(api.purge(item.id) for item in items)
    except GapscopeError as error:
        show_error(error)
        return
    st.session_state["told"] = f"Deleted for good: {words.size(freed)} freed."
    st.rerun()
