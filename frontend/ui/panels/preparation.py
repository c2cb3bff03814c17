"""Panel: how far the preparation of a dataset is, how it is ended, and how one that failed is tried again."""

from __future__ import annotations

import streamlit as st

from frontend.ui import words
from frontend.ui.once import first_press
from frontend.ui.service import client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Dataset


def preparation_words(item: Dataset) -> str:
    """Returns how far a preparation is, in words."""
    progress = item.progress
    if item.state == "queued":
        return "Waiting for a worker that prepares clips."
    if not progress.total:
        return "Listing the clips."
    rate = f", {progress.clips_per_s:.0f} a second" if progress.clips_per_s else ""
    left = f", {words.duration(progress.eta_s)} left" if progress.eta_s is not None else ""
    skipped = f"; {words.count(progress.skipped, 'clip')} left out" if progress.skipped else ""
    return f"{progress.done:,} of {words.count(progress.total, 'clip')}{rate}{left}{skipped}."


def draw(dataset_id: str) -> None:
    """Draws the progress of a preparation, with a button that ends it; draws the page again when it has ended."""
    try:
        item = client().dataset(dataset_id)
    except GapscopeError as error:
        show_error(error)
        return
    if item.state not in {"queued", "preparing"}:
        st.rerun()
    st.progress(item.progress.fraction, text=preparation_words(item))
    if st.button("Cancel", key="cancel_preparation", icon=":material/cancel:", help="What is done is kept.") and (
        first_press(f"cancel {dataset_id}")
    ):
        try:
            client().cancel_dataset(dataset_id)
        except GapscopeError as error:
            show_error(error)


def draw_ended(item: Dataset) -> None:
    """Draws why a dataset is not ready, and a button that tries again.

    Args:
        item: a dataset whose preparation failed or was cancelled.
    """
    if item.error:
        st.error(
            f"**{words.plain(item.error.title)}**  \n{words.message(item.error.detail)} (`{item.error.code}`)",
            icon=":material/error:",
        )
    else:
        st.info("The preparation was cancelled. Clips that are done are kept.", icon=":material/cancel:")
    if not st.button("Try again", key="retry_preparation", type="primary", icon=":material/refresh:"):
        return
    if first_press(f"retry {item.id}"):
        try:
            client().prepare_dataset(item.id)
        except GapscopeError as error:
            show_error(error)
            return
    st.rerun()
