"""On the Samples tab: tag or annotate the open clip, or all clips that pass the filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from frontend.ui import words
from frontend.ui.once import first_press
from frontend.ui.service import client
from worker.contract.annotations import MAX_NOTE, SUGGESTED_TAGS, AnnotationsChanged
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run

NOT_A_CONDITION: Final = frozenset({"sort"})


def condition(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the tab's filters as the API's condition: all that is chosen but the order."""
    return {name: value for name, value in filters.items() if value is not None and name not in NOT_A_CONDITION}


def draw(run: Run, dataset_id: str, filters: Mapping[str, Any], sample_id: str | None) -> None:
    """Draws the button that opens the tagging.

    Args:
        run: the run.
        dataset_id: of the run: tags belong to its clips, so other runs show them too.
        filters: of the tab.
        sample_id: the open clip.
    """
    if not dataset_id:
        return
    known = [one.tag for one in client().annotation_summary(dataset_id).tags]
    with st.popover("Tag", icon=":material/sell:", key="tag_popover"):
        st.caption("Tags and notes belong to the clips of the dataset: every run on it shows them.")
        tags = st.multiselect(
            "Tags",
            list(dict.fromkeys([*known, *SUGGESTED_TAGS])),
            key="tags_chosen",
            accept_new_options=True,
            placeholder="Choose, or type a new one",
        )
        note = st.text_area(
            "Note", key="tags_note", max_chars=MAX_NOTE, placeholder="Left empty: notes stay", height=68
        )
        with st.container(horizontal=True):
            one: dict[str, Any] = {"sample_ids": [sample_id]}
            every: dict[str, Any] = {"run_id": run.id, "filter": condition(filters)}
            nothing = not tags and not note.strip()
            st.button("Tag the open clip", key="tag_one", disabled=nothing or not sample_id, on_click=_change,
                      args=(dataset_id, one, tags, note, False))  # fmt: skip
            st.button("Tag all that pass the filters", key="tag_all", disabled=nothing, on_click=_change,
                      args=(dataset_id, every, tags, note, False))  # fmt: skip
            st.button("Remove from the open clip", key="untag_one", type="tertiary", disabled=not tags or not sample_id,
                      on_click=_change, args=(dataset_id, one, tags, "", True))  # fmt: skip


def _change(dataset_id: str, which: dict[str, Any], tags: list[str], note: str, remove: bool) -> None:
    if not first_press(f"tag {which} {tags} {note} {remove}"):
        return
    change: dict[str, Any] = {"remove_tags" if remove else "add_tags": tags}
    if note.strip():
        change["note"] = note
    try:
        changed: AnnotationsChanged = client().annotate_many(dataset_id, **which, **change)
    except GapscopeError as error:
        st.session_state["told_error"] = error
        return
    st.session_state["told"] = (
        f"{changed.num_changed:,} of {words.count(changed.num_samples, 'clip')} changed: {', '.join(tags) or 'note'}."
    )
