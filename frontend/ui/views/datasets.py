"""Page: datasets. What is registered, how far preparation is, what was left out and why, and the clips themselves."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import streamlit as st

from frontend.ui import notices, words
from frontend.ui.paging import Pager
from frontend.ui.panels import balance as balance_panel
from frontend.ui.panels import clips as clips_panel
from frontend.ui.panels import left_out, preparation, quality, registering, upkeep
from frontend.ui.panels.configuration import flatten
from frontend.ui.panels.header import told
from frontend.ui.service import client
from worker.contract.errors import NotFoundError
from worker.contract.resources import Dataset

PAGE: Final = 50


def page() -> None:
    """Draws the page."""
    told()
    head, button = st.columns([4, 1], vertical_alignment="center")
    head.title("Datasets", anchor=False)
    with button.container(horizontal_alignment="right"):
        if st.button("Register", key="register", type="primary", icon=":material/add:"):
            st.session_state["registering"] = not st.session_state.get("registering", False)
    if st.session_state.get("registering"):
        with st.container(border=True, key="register_form"):
            registering.draw()
    unused = st.query_params.get("unused") == "true" or None
    pager = Pager("datasets", {"unused": unused})
    found = client().datasets(unused=unused, limit=PAGE, cursor=pager.cursor)
    if not found.items and not unused:
        _empty()
        return
    chosen = _list(found.items)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        only = st.toggle("Only those that no run uses", value=bool(unused), key="only_unused")
        pager.draw(found.next)
    if only != bool(unused):
        st.query_params.from_dict({"unused": "true"} if only else {})
        st.rerun()
    if chosen is None:
        st.info("Each dataset is used by a run.", icon=":material/check_circle:")
        return
    st.divider()
    try:
        item = client().dataset(chosen)
    except NotFoundError:
        st.info(
            f"There is no dataset {words.plain(chosen)} (any more). Choose one of the list.", icon=":material/info:"
        )
        st.query_params.pop("dataset", None)
        return
    _detail(item)


def _empty() -> None:
    """Draws what a newcomer can do."""
    with st.container(border=True, key="datasets_empty"):
        st.subheader("No dataset yet", anchor=False)
        st.markdown(
            "- **Own clips**: press *Register*, then name a folder on the server (a folder a class) or a CSV file, or "
            "upload a zip of them.\n"
            "- **A published corpus** (CREMA-D, AVE, Kinetics-Sounds, VGGSound): obtain it from its authors, then "
            "register its folder; the check says what is missing.\n"
            "- **Nothing at hand**: the demo on the page Runs makes its own clips."
        )


def row_of(item: Dataset) -> dict[str, Any]:
    """Returns what the list shows of a dataset."""
    return {
        "id": item.id,
        "kind": item.kind,
        "state": words.state_words(item.state),
        "progress": 100 * item.progress.fraction,
        "clips": item.num_samples,
        "classes": item.num_classes,
        "splits": " / ".join(str(item.splits[name]) for name in words.SPLITS if name in item.splits) or words.NONE,
        "skipped": item.num_skipped,
        "size": f"{words.size(disk_bytes(item))}{', shared' if item.shared else ''}",
        "runs": item.num_runs,
    }


def disk_bytes(item: Dataset) -> int | None:
    """Returns the bytes of a dataset's prepared store and of the clips that were uploaded as it."""
    uploaded = item.upload.num_bytes if item.upload else None
    return None if item.store_bytes is None and uploaded is None else (item.store_bytes or 0) + (uploaded or 0)


def _list(found: list[Dataset]) -> str | None:
    """Draws the list and returns the chosen dataset's id: the ticked one, else that of the address, else the first."""
    if not found:
        return st.query_params.get("dataset")
    column = st.column_config
    key = "datasets_table_" + str(abs(hash(tuple(item.id for item in found))))
    event = st.dataframe(
        pd.DataFrame([row_of(item) for item in found]).astype(
            {"clips": "Int64", "classes": "Int64", "skipped": "Int64", "runs": "Int64"}
        ),
        key=key,
        hide_index=True,
        placeholder=words.NONE,
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "id": column.TextColumn("Dataset", width="medium"),
            "kind": column.TextColumn("Kind", width=90),
            "state": column.TextColumn("State", width=100),
            "progress": column.ProgressColumn("Prepared", min_value=0, max_value=100, format="%.0f %%", width=120),
            "clips": column.NumberColumn("Clips", width=80),
            "classes": column.NumberColumn("Classes", width=80),
            "splits": column.TextColumn("Training / validation / test", width=190),
            "skipped": column.NumberColumn("Left out", width=80),
            "size": column.TextColumn("On the disk", width=130, help="Prepared store, and clips that were uploaded."),
            "runs": column.NumberColumn("Runs", width=70),
        },
    )
    rows = [row for row in event.selection.rows if row < len(found)]
    if rows and st.query_params.get("dataset") != found[rows[0]].id:
        st.query_params["dataset"] = found[rows[0]].id
        st.query_params.pop("clip", None)
    return st.query_params.get("dataset") or found[0].id


def _detail(item: Dataset) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(words.plain(item.id), anchor=False, width="content")
        st.badge(
            words.state_words(item.state),
            icon=words.STATE_ICONS.get(item.state),
            color=words.STATE_COLOURS.get(item.state, "gray"),  # type: ignore[arg-type]
        )
    if item.state in {"queued", "preparing"}:
        notices.watch("dataset", item.id)
        st.fragment(run_every=1.0, key="preparing_tick")(preparation.draw)(item.id)
        return
    if item.state != "ready":
        preparation.draw_ended(item)
        upkeep.draw(item)
        return
    _facts(item)
    upkeep.draw(item)
    clips, balance, measured, skipped = st.tabs(
        ["Clips", "Class balance", "Quality", "Left out"], key="dataset_tab", on_change="rerun", bind="query-params"
    )
    if clips.open:
        with clips:
            clips_panel.draw(item)
    if balance.open:
        with balance:
            balance_panel.draw(item)
    if measured.open:
        with measured:
            quality.draw(item)
    if skipped.open:
        with skipped:
            left_out.draw(item)
    with st.expander("How it was prepared", icon=":material/tune:"):
        table = pd.DataFrame(flatten(item.spec), columns=["setting", "value"])
        st.table(table, border="horizontal", hide_index=True, hide_header=True)


def _facts(item: Dataset) -> None:
    cells = [
        ("Clips", f"{item.num_samples:,}" if item.num_samples is not None else words.NONE),
        ("Classes", str(item.num_classes or words.NONE)),
        *(
            (f"{title.capitalize()} clips", f"{item.splits[name]:,}")
            for name, title in words.SPLITS.items()
            if name in item.splits
        ),
        ("Left out", f"{item.num_skipped:,}" if item.num_skipped is not None else words.NONE),
        ("Prepared store", words.size(item.store_bytes)),
        *([("Uploaded clips", words.size(item.upload.num_bytes))] if item.upload else []),
    ]
    for column, (label, value) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(label, value)
    leaks = [leak.text for leak in item.quality.leaks] if item.quality else []
    if said := [*item.warnings, *leaks]:
        st.warning("\n".join(f"- {words.message(one)}" for one in said), icon=":material/fact_check:")
