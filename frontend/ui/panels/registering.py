"""Panel: a dataset is registered by its path on the server, after a look at what is there, or uploaded as a zip."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import streamlit as st

from frontend.ui import words
from frontend.ui.components.zips import zip_upload
from frontend.ui.form import Form
from frontend.ui.once import first_press
from frontend.ui.schema import Field, place_all, read
from frontend.ui.service import browser_address, catalog, client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import DatasetCheck

PATH, ZIP = "A path on the server", "A zip from this computer"
OWN: Final = ("folder", "manifest")
SOURCES: Final = {
    "crema-d": ("CREMA-D on GitHub", "https://github.com/CheyneyComputerScience/CREMA-D", "crema-d-crema-d"),
    "ave": ("AVE, by its authors", "https://github.com/YapengTian/AVE-ECCV18", "ave-ave"),
    "vggsound": ("VGGSound, by its authors", "https://www.robots.ox.ac.uk/~vgg/data/vggsound/", "vggsound-vggsound"),
    "kinetics-sounds": ("Kinetics-400", "https://github.com/cvdfoundation/kinetics-dataset", "kinetics-sounds"),
}
"""kind -> where its clips are published, and its section of docs/corpora.md. Nothing is downloaded by Gapscope."""


def draw() -> None:
    """Draws the form."""
    st.markdown("##### Register a dataset", anchors=False)
    way = st.segmented_control("From", [PATH, ZIP], default=PATH, key="register_from", label_visibility="collapsed")
    if way == ZIP:
        _upload()
    else:
        _path()


def _upload() -> None:
    st.caption(
        "A folder a class, with or without train, validation and test around them; or one CSV file at the top that "
        "lists the clips. The zip goes straight to the API and is unpacked there; equal clips are kept once."
    )
    with st.expander("Settings", icon=":material/tune:"):
        fields = tuple(item for item in read(catalog()["datasets"]["folder"]["schema"]) if item.name != "path")
        settings = Form("upload.folder").fields(fields, {})
    sent = zip_upload(browser_address("/api/v1/datasets/upload", "POST"), settings, key="zip_upload")
    if sent.dataset_id:
        st.session_state.pop("upload_refused", None)
        _registered(sent.dataset_id)
    if sent.refused:
        st.session_state["upload_refused"] = sent.refused
    if refused := st.session_state.get("upload_refused"):
        st.error(
            f"**{words.plain(refused.title)}**  \n{words.message(refused.detail)} (`{refused.code}`)",
            icon=":material/error:",
        )


def _path() -> None:
    known = catalog()["datasets"]
    error: GapscopeError | None = st.session_state.get("register_error")
    kinds = sorted(known, key=lambda kind: (kind not in OWN, kind))
    kind = st.selectbox("Kind", kinds, format_func=lambda one: known[one]["title"], key="register_kind")
    st.caption(known[kind]["summary"])
    if kind in SOURCES:
        title, address, section = SOURCES[kind]
        st.caption(
            f"Gapscope downloads nothing: obtain the clips from [{title}]({address}) under its terms; the layout that "
            f"is expected stands in docs/corpora.md#{section}."
        )
    fields = read(known[kind]["schema"])
    errors, rest = place_all((error.errors if error else None) or (), fields)
    with st.container(key="register_fields"):
        spec = Form(f"register.{kind}", errors).fields(_path_first(fields), {})
    name = st.text_input(
        "Id", key="register_id", placeholder="made from the settings", help="Lower case, for people."
    ).strip()
    if error and (rest or not errors):
        show_error(error)
    body = {"kind": kind, **spec, **({"id": name} if name else {})}
    with st.container(horizontal=True):
        if st.button("Check the path", key="register_check", icon=":material/fact_check:"):
            _check(body)
        if st.button("Register and prepare", key="register_send", type="primary", icon=":material/database:"):
            _send(body)
    checked: tuple[dict[str, Any], DatasetCheck] | None = st.session_state.get("register_checked")
    if checked and checked[0] == body:
        _found(checked[1])


def _path_first(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    return tuple(sorted(fields, key=lambda item: item.name != "path"))


def _check(body: dict[str, Any]) -> None:
    st.session_state.pop("register_error", None)
    try:
        with st.spinner("Listing the clips …"):
            st.session_state["register_checked"] = (body, client().check_dataset(body))
    except GapscopeError as error:
        st.session_state["register_error"] = error
        st.session_state.pop("register_checked", None)
        st.rerun()


def check_words(found: DatasetCheck) -> str:
    """Returns what a path holds, in a sentence."""
    splits = ", ".join(f"{number:,} {words.SPLITS.get(name, name)}" for name, number in found.splits.items())
    size = f"; prepared they take up to {words.size(found.store_bytes)}" if found.store_bytes else ""
    classes = f"{found.num_classes:,} class{'' if found.num_classes == 1 else 'es'}"
    return f"{words.count(found.num_clips, 'clip')} in {classes}{f' ({splits})' if splits else ''}{size}."


def _found(found: DatasetCheck) -> None:
    """Draws what a check found."""
    with st.container(border=True, key="register_found"):
        if found.problem:
            st.error(f"**It cannot be prepared**  \n{words.message(found.problem.detail)}", icon=":material/error:")
        else:
            st.success(check_words(found), icon=":material/check_circle:")
        for warning in found.warnings:
            st.warning(words.message(warning), icon=":material/fact_check:")
        if found.problem and found.num_clips:
            st.caption(check_words(found))
        if found.num_left_out:
            st.markdown(f"{words.count(found.num_left_out, 'file')} would be left out; the first of them:")
            rows = [{"file": clip.path or clip.sample_id, "reason": clip.reason} for clip in found.left_out]
            st.dataframe(
                pd.DataFrame(rows), hide_index=True, key="check_left_out", height=250 if len(rows) > 6 else "content"
            )


def _send(body: dict[str, Any]) -> None:
    if not first_press(f"register {body}"):
        return
    st.session_state.pop("register_error", None)
    try:
        made = client().register_dataset(body)
    except GapscopeError as error:
        st.session_state["register_error"] = error
        st.rerun()
    _registered(made.id)


def _registered(dataset_id: str) -> None:
    st.session_state["registering"] = False
    st.session_state["told"] = f"Registered {dataset_id}."
    st.session_state.pop("register_checked", None)
    st.query_params["dataset"] = dataset_id
    st.rerun()
