"""Page: datasets. What is registered, how far preparation is, what was left out and why, and the clips themselves."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import streamlit as st

from frontend.ui import media, words
from frontend.ui.charts.datasets import class_balance, class_balance_table
from frontend.ui.components.elements import Card, clip_grid
from frontend.ui.form import Form
from frontend.ui.paging import Pager
from frontend.ui.panels.configuration import flatten
from frontend.ui.panels.header import told
from frontend.ui.panels.preparation import preparation_words
from frontend.ui.schema import place_all, read
from frontend.ui.service import browser_address, catalog, client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Dataset, DatasetSample

GRID: Final = 24
MOST: Final = 200


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
            _register()
    found = client().datasets(limit=MOST).items
    if not found:
        st.info(
            "No dataset yet. The demo registers its built-in clips by itself; own clips are registered here, by the "
            "path of their folder or of a CSV file.",
            icon=":material/info:",
        )
        return
    chosen = _list(found)
    st.divider()
    _detail(chosen)


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
        "size": words.size(item.store_bytes),
    }


def _list(found: list[Dataset]) -> Dataset:
    """Draws the list and returns the chosen dataset: the ticked one, else that of the address, else the first."""
    column = st.column_config
    key = "datasets_table_" + str(abs(hash(tuple(item.id for item in found))))
    event = st.dataframe(
        pd.DataFrame([row_of(item) for item in found]).astype(
            {"clips": "Int64", "classes": "Int64", "skipped": "Int64"}
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
            "size": column.TextColumn("Store", width=90),
        },
    )
    rows = [row for row in event.selection.rows if row < len(found)]
    by_id = {item.id: item for item in found}
    if rows:
        st.query_params["dataset"] = found[rows[0]].id
    return by_id.get(st.query_params.get("dataset", ""), found[0])


def _detail(item: Dataset) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(item.id, anchor=False, width="content")
        st.badge(
            words.state_words(item.state),
            icon=words.STATE_ICONS.get(item.state),
            color=words.STATE_COLOURS.get(item.state, "gray"),  # type: ignore[arg-type]
        )
    if item.error:
        st.error(f"**{item.error.title}**  \n{item.error.detail}", icon=":material/error:")
    if item.state in {"queued", "preparing"}:
        st.fragment(run_every=1.0, key="preparing_tick")(_preparing)(item.id)
        return
    _facts(item)
    if item.state != "ready":
        return
    clips, balance, skipped = st.tabs(["Clips", "Class balance", "Left out"], key="dataset_tab", on_change="rerun")
    if clips.open:
        with clips:
            _clips(item)
    if balance.open:
        with balance:
            table = class_balance_table(item.class_counts)
            st.altair_chart(class_balance(table), key="chart_balance", width="stretch")
    if skipped.open:
        with skipped:
            _skipped(item)


def _preparing(dataset_id: str) -> None:
    """Draws the progress of a preparation; draws the page again when it has ended."""
    try:
        item = client().dataset(dataset_id)
    except GapscopeError as error:
        show_error(error)
        return
    if item.state not in {"queued", "preparing"}:
        st.rerun()
    st.progress(item.progress.fraction, text=preparation_words(item))


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
    ]
    for column, (label, value) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(label, value)
    with st.expander("How it was prepared", icon=":material/tune:"):
        table = pd.DataFrame(flatten(item.spec), columns=["setting", "value"])
        st.table(table, border="horizontal", hide_index=True, hide_header=True)


def card_of(sample: DatasetSample) -> Card:
    """Returns a clip as the grid shows it."""
    video = sample.media.get("video")
    length = f"{sample.duration_s:.1f} s" if sample.duration_s is not None else ""
    subtitle = " · ".join(part for part in (words.SPLITS.get(sample.split, sample.split), length) if part)
    return Card(sample.sample_id, sample.label, subtitle, browser_address(video) if video else None)


def _clips(item: Dataset) -> None:
    """Draws the clips of a dataset by pages, and the chosen one to play."""
    first, second, _ = st.columns([1, 1, 3])
    label = first.selectbox("Class", item.classes or [], index=None, placeholder="Any", key="clips_label")
    splits = [name for name in words.SPLITS if name in item.splits]
    split = second.selectbox(
        "Split",
        splits,
        index=None,
        placeholder="Any",
        key="clips_split",
        format_func=lambda one: words.SPLITS[one].capitalize(),
    )
    filters = {"label": label, "split": split}
    pager = Pager("clips", {"dataset": item.id, **filters})
    found = client().dataset_samples(item.id, **filters, limit=GRID, cursor=pager.cursor)
    if not found.items:
        st.info("No clip matches these filters.", icon=":material/filter_alt_off:")
        return
    by_id = {sample.sample_id: sample for sample in found.items}
    grid, detail = st.columns([2.4, 1], gap="medium")
    with grid:
        chosen = st.query_params.get("clip", "")
        clicked = clip_grid([card_of(sample) for sample in found.items], chosen or None, key="clip_grid")
        if clicked and clicked != chosen:
            st.query_params["clip"] = clicked
            st.rerun()
        pager.draw(found.next)
    with detail.container(border=True, key="clip_detail"):
        sample = by_id.get(chosen, found.items[0])
        st.markdown(f"##### {sample.sample_id}")
        media.player(sample.media)
        st.markdown(f"Class **{sample.label}**, {words.SPLITS.get(sample.split, sample.split)} split")
        for name, value in sample.notes.items():
            st.caption(f"{name.replace('_', ' ')}: {value}")


def _skipped(item: Dataset) -> None:
    """Draws the clips that preparation left out, with the reason of each."""
    if not item.num_skipped:
        st.success("Every clip could be used.", icon=":material/check_circle:")
        return
    pager = Pager("skipped", {"dataset": item.id})
    found = client().skipped(item.id, limit=50, cursor=pager.cursor)
    rows = [{"clip": one.path or one.sample_id, "reason": one.reason, "code": one.code} for one in found.items]
    st.caption(f"{words.count(item.num_skipped, 'clip')} left out; runs train on the rest.")
    column = st.column_config
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        placeholder=words.NONE,
        key="skipped_table",
        column_config={
            "clip": column.TextColumn("Clip", width="medium"),
            "reason": column.TextColumn("Reason", width="large"),
            "code": column.TextColumn("Code", width="small"),
        },
    )
    pager.draw(found.next)


def _register() -> None:
    """Draws the form that registers a folder or a manifest by its path on the server."""
    known = catalog()["datasets"]
    st.markdown("##### Register a dataset")
    error: GapscopeError | None = st.session_state.get("register_error")
    kinds = sorted(known, key=lambda kind: (kind not in {"folder", "manifest"}, kind))
    kind = st.selectbox("Kind", kinds, format_func=lambda one: known[one]["title"], key="register_kind")
    st.caption(known[kind]["summary"])
    fields = read(known[kind]["schema"])
    errors, rest = place_all((error.errors if error else None) or (), fields)
    order = sorted(fields, key=lambda item: item.name != "path")
    with st.container(key="register_fields"):
        spec = Form(f"register.{kind}", errors).fields(tuple(order), {})
    name = st.text_input("Id", key="register_id", placeholder="made from the settings", help="Lower case, for people.")
    if error and (rest or not errors):
        show_error(error)
    if st.button("Register and prepare", key="register_send", type="primary", icon=":material/database:"):
        _send({"kind": kind, **spec, **({"id": name.strip()} if name.strip() else {})})


def _send(body: dict[str, Any]) -> None:
    st.session_state.pop("register_error", None)
    try:
        made = client().register_dataset(body)
    except GapscopeError as error:
        st.session_state["register_error"] = error
        st.rerun()
    st.session_state["registering"] = False
    st.session_state["told"] = f"Registered {made.id}."
    st.query_params["dataset"] = made.id
    st.rerun()
