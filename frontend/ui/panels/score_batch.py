"""A folder or a manifest of clips scored by a run: the form, how far it is, and the table to download."""

from __future__ import annotations

from typing import Final

import streamlit as st

from frontend.ui import words
from frontend.ui.service import browser_address, client, show_error
from frontend.ui.verdict import problem_text
from worker.contract.errors import GapscopeError
from worker.contract.score_batches import ScoreBatch

TICK_S: Final = 1.0
NEWEST: Final = 5


def batch_panel(run_id: str) -> None:
    """Draws the panel.

    Args:
        run_id: the run whose model scores.
    """
    with st.expander("Score a whole folder or manifest", icon=":material/folder_open:", expanded=_is_asked()):
        with st.form("batch_form", border=False):
            path = st.text_input(
                "Path on the server",
                key="batch_path",
                placeholder="/data/clips or /data/clips.csv",
                help="A folder of clips, or a CSV file with a column `path`. In a folder the first "
                "folder below it names the label; labels are optional. Nothing is uploaded.",
            )
            sent = st.form_submit_button("Score them", icon=":material/play_arrow:", key="batch_send")
        if sent:
            _send(path.strip(), run_id)
        chosen = st.query_params.get("batch")
        if chosen:
            _shown(chosen)
        _recent(run_id, chosen)


def progress_words(batch: ScoreBatch) -> str:
    """Returns how far a batch is, in words."""
    now = batch.progress
    if batch.state == "queued":
        return "Waits for a worker …"
    if not now.total:
        return "Looking for clips …"
    left = f", {words.duration(now.eta_s)} left" if now.eta_s is not None else ""
    failed = f", {now.failed:,} without scores" if now.failed else ""
    return f"{now.done:,} of {words.count(now.total, 'clip')}{failed}{left}"


def _is_asked() -> bool:
    return "batch" in st.query_params


def _send(path: str, run_id: str) -> None:
    if not path:
        st.warning("Give the path of a folder or a CSV file.", icon=":material/info:")
        return
    try:
        st.query_params["batch"] = client().score_batch(path, run_id, wait=False).id
    except GapscopeError as error:
        show_error(error)


def _shown(batch_id: str) -> None:
    """Draws one batch, with progress while it is at work."""
    try:
        batch = client().get_batch(batch_id)
    except GapscopeError as error:
        show_error(error)
        return
    if batch.state in words.ENDED:
        _ended(batch)
    else:
        st.fragment(run_every=TICK_S, key="batch_tick")(_working)(batch.id)


def _working(batch_id: str) -> None:
    """Draws the progress of a batch; when it has ended, the whole page is drawn once more."""
    try:
        batch = client().get_batch(batch_id)
    except GapscopeError as error:
        show_error(error)
        return
    if batch.state in words.ENDED:
        st.rerun()
    st.progress(batch.progress.fraction, text=progress_words(batch))
    if st.button("Cancel", key="batch_cancel", icon=":material/cancel:"):
        try:
            client().cancel_batch(batch.id)
        except GapscopeError as error:
            show_error(error)


def _ended(batch: ScoreBatch) -> None:
    if batch.error is not None:
        st.error(problem_text(batch.error), icon=":material/error:")
    else:
        st.markdown(f"**{words.state_words(batch.state)}**: {progress_words(batch)}. {words.plain(batch.path)}")
    if batch.table is not None:
        csv, parquet = st.columns(2)
        address = browser_address(batch.table)
        csv.link_button("CSV", f"{address}?format=csv", icon=":material/download:", width="stretch")
        parquet.link_button("Parquet", f"{address}?format=parquet", icon=":material/download:", width="stretch")
    if batch.progress.failed:
        st.caption("Clips without scores have a row that says why, in the columns error_code and error.")


def _recent(run_id: str, shown: str | None) -> None:
    """Draws links to the run's newest batches."""
    try:
        items = client().batches(run_id=run_id, limit=NEWEST).items
    except GapscopeError as error:
        show_error(error)
        return
    for batch in items:
        if batch.id != shown:
            label = (
                f"{words.plain(batch.path)} · {words.state_words(batch.state).lower()} {words.ago(batch.created_at)}"
            )
            if st.button(label, key=f"batch_open_{batch.id}", type="tertiary"):
                st.query_params["batch"] = batch.id
                st.rerun()
