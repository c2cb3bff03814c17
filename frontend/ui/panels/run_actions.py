"""What can be done with ticked runs: compare, clone, label, export, cancel, resume, delete and undo that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import streamlit as st

from frontend.ui import links, words
from frontend.ui.once import first_press
from frontend.ui.panels.header import run_title
from frontend.ui.service import browser_address, client
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run

CANCELLABLE: Final = frozenset({"queued", "running", "lost"})
RESUMABLE: Final = frozenset({"failed", "cancelled"})
DELETED: Final = "runs_deleted"
"""Session state: ids of the runs that were deleted last and can be brought back."""
MAX_LISTED: Final = 12
MAX_NOTES: Final = 4_000


def draw(chosen: list[Run]) -> None:
    """Draws the buttons for the ticked runs."""
    if not chosen:
        st.caption("Tick runs to compare, clone, tag, export, cancel, resume or delete them; Open shows one.")
        return
    st.markdown(f"**{words.count(len(chosen), 'run')}**", width="content")
    if len(chosen) > 1 and st.button(
        "Compare", key="compare_chosen", icon=":material/stacked_line_chart:", type="primary"
    ):
        links.go("compare", runs=",".join(run.id for run in chosen))
    if len(chosen) == 1:
        if st.button("Open", key="open_chosen", icon=":material/open_in_new:", type="primary"):
            links.go("run", run=chosen[0].id)
        if st.button("Clone", key="clone_chosen", icon=":material/content_copy:", help="A new run, prefilled."):
            links.go("new_run", clone=chosen[0].id)
    label = "Edit" if len(chosen) == 1 else "Tag"
    if st.button(label, key="label_chosen", icon=":material/sell:", help="Name, tags and notes."):
        edit(chosen)
    if st.button("Export", key="export_chosen", icon=":material/download:"):
        export(chosen)
    for title, key, icon, states, dialog in (
        ("Cancel", "cancel", "stop_circle", CANCELLABLE, confirm_cancel),
        ("Resume", "resume", "play_arrow", RESUMABLE, None),
        ("Delete", "delete", "delete", words.ENDED, confirm_delete),
    ):
        fit = [run for run in chosen if run.state in states]
        if fit and st.button(title, key=f"{key}_chosen", icon=f":material/{icon}:"):
            if dialog is not None:
                dialog(fit)
            elif first_press(f"resume {[run.id for run in fit]}"):
                tell("Resumed", *each(fit, client().resume))
                st.rerun()


def each(runs: Sequence[Run], do: Callable[[str], Any]) -> tuple[list[str], list[str]]:
    """Does something with each run; one that is refused keeps no other from it.

    Returns:
        Ids of the runs with which it was done, and what the API said of the others.
    """
    done, refused = [], []
    for run in runs:
        try:
            do(run.id)
        except GapscopeError as error:
            refused.append(f"{run_title(run)}: {error.detail}")
        else:
            done.append(run.id)
    return done, refused


def tell(what: str, done: list[str], refused: list[str]) -> None:
    """Remembers what became of an action, for the toast and the message of the next script run."""
    if done:
        st.session_state["told"] = f"{what}: {words.count(len(done), 'run')}."
    st.session_state["refused"] = refused


def refusals() -> None:
    """Draws what was refused last, once."""
    for line in st.session_state.pop("refused", ()):
        st.error(words.message(line), icon=":material/error:")


def undo_bar() -> None:
    """Draws what was deleted last and the way back, and what was refused last."""
    refusals()
    deleted: list[str] = st.session_state.get(DELETED, [])
    if not deleted:
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="undo_bar"):
        st.markdown(f":material/delete: {words.count(len(deleted), 'run')} deleted.", width="content")
        if st.button("Undo", key="undo_delete", type="primary", icon=":material/undo:", shortcut="Mod+Z"):
            restore(deleted)
        in_trash = st.query_params.get("view") == "trash"
        if not in_trash and st.button("Open the trash", key="undo_trash", icon=":material/delete_sweep:"):
            links.go("runs", view="trash")
        if st.button("Dismiss", key="undo_dismiss", type="tertiary"):
            st.session_state.pop(DELETED)
            st.rerun()


def restore(run_ids: Sequence[str]) -> None:
    """Brings deleted runs back and tells so."""
    back, refused = 0, []
    for run_id in run_ids:
        try:
            client().restore(run_id)
            back += 1
        except GapscopeError as error:
            refused.append(error.detail)
    st.session_state.pop(DELETED, None)
    st.session_state["told"] = f"Brought back: {words.count(back, 'run')}."
    st.session_state["refused"] = refused
    st.rerun()


def _listed(runs: Sequence[Run]) -> None:
    lines = [f"- {words.plain(run_title(run))} ({words.state_words(run.state).lower()})" for run in runs[:MAX_LISTED]]
    more = [f"- and {len(runs) - MAX_LISTED} more"] if len(runs) > MAX_LISTED else []
    st.markdown("\n".join([*lines, *more]))


@st.dialog("Delete runs?", icon=":material/delete:")
def confirm_delete(runs: list[Run]) -> None:
    """Asks before deleting; says what can be undone and what cannot."""
    _listed(runs)
    purge = st.toggle("Free the space at once", key="delete_purge")
    if purge:
        st.warning("This is final: nobody can bring these runs back.", icon=":material/warning:")
    else:
        st.caption("They go to the trash, from where Undo brings them back for a while.")
    pressed = st.button(
        "Delete for good" if purge else "Delete", key="delete_confirmed", type="primary", icon=":material/delete:"
    )
    if not pressed or not first_press(f"delete {[run.id for run in runs]}"):
        return
    freed = 0

    def delete(run_id: str) -> None:
        nonlocal freed
        freed += int(client().delete(run_id, purge=purge)["freed_bytes" if purge else "reclaimable_bytes"])

    done, refused = each(runs, delete)
    tell(f"{'Deleted for good' if purge else 'Deleted'} ({words.size(freed)})", done, refused)
    st.session_state[DELETED] = [] if purge else done
    st.rerun()


@st.dialog("Cancel runs?", icon=":material/stop_circle:")
def confirm_cancel(runs: list[Run]) -> None:
    """Asks before cancelling."""
    _listed(runs)
    st.caption("Finished epochs are kept. Resume goes on after the last of them.")
    if st.button("Cancel the runs", key="cancel_confirmed", type="primary", icon=":material/stop_circle:"):
        tell("Cancelling", *each(runs, client().cancel))
        st.rerun()


@st.dialog("Name, tags and notes", icon=":material/sell:")
def edit(runs: list[Run]) -> None:
    """Changes labels: all of one run, or the tags of several."""
    known = [facet.value for facet in client().facets().tags]
    one = runs[0] if len(runs) == 1 else None
    if one is None:
        _listed(runs)
    common = [tag for tag in runs[0].tags if all(tag in run.tags for run in runs)]
    with st.form("labels", border=False):
        name = st.text_input("Name", value=one.name, max_chars=120, key="label_name") if one else None
        tags = st.multiselect(
            "Tags" if one else "Tags that all of them have",
            [*dict.fromkeys([*common, *known])],
            default=common,
            accept_new_options=True,
            placeholder="Choose, or type a new one",
            max_selections=20,
            key="label_tags",
        )
        notes = st.text_area("Notes", value=one.notes, max_chars=MAX_NOTES, key="label_notes") if one else None
        saved = st.form_submit_button("Save", type="primary", icon=":material/check:")
    if saved:
        changes: dict[str, Any] = {
            "add_tags": [tag for tag in tags if tag not in common],
            "remove_tags": [tag for tag in common if tag not in tags],
        }
        if one is not None:
            changes |= {"name": (name or "").strip() or None, "notes": notes or ""}
        tell("Saved", *each(runs, lambda run_id: client().label(run_id, **changes)))
        st.rerun()


@st.dialog("Export", icon=":material/download:", width="large")
def export(runs: list[Run]) -> None:
    """Links to the tables of the runs; the files go from the API to the browser."""
    st.caption("Epochs: one row an epoch with all figures. Samples: one row a sample and epoch.")
    for run in runs:
        links_of = " · ".join(
            f"[{table}, {name}]({browser_address(f'/api/v1/runs/{run.id}/export?table={table}&format={form}')})"
            for table in ("epochs", "samples")
            for form, name in (("csv", "CSV"), ("parquet", "Parquet"))
        )
        st.markdown(f"**{words.plain(run_title(run))}**  \n{links_of}")
