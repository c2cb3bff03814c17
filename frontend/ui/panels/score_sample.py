"""A clip of the run's dataset, scored without an upload."""

from __future__ import annotations

from typing import Final

import streamlit as st

from frontend.ui.service import client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run

OFFERED: Final = 50


def draw(run: Run, label: str | None) -> None:
    """Draws the choice of a sample; the address's `sample` is chosen first.

    Args:
        run: whose model scores, and whose dataset's clips are offered.
        label: the true class that was chosen, if any; else the clip's own counts.
    """
    asked = st.query_params.get("sample", "")
    with st.expander("A clip of the dataset", icon=":material/video_library:", expanded=bool(asked)):
        try:
            rows = client().sample_rows(run.id, sort="-abs_gap", limit=OFFERED).items
        except GapscopeError as error:
            show_error(error)
            return
        ids = [row.sample_id for row in rows]
        if asked and asked not in ids:
            ids.insert(0, asked)
        chosen = st.selectbox(
            "Sample",
            ids,
            index=ids.index(asked) if asked else None,
            key=f"sample_of_{run.id}_{asked}",
            accept_new_options=True,
            placeholder="Choose one, or type its id",
            help=f"Offered: the {OFFERED} widest score gaps of the newest epoch. Any other id can be typed.",
        )
        if st.button("Score it", key="score_sample", icon=":material/play_arrow:", disabled=not chosen) and chosen:
            try:
                dataset_id = client().sample(run.id, chosen)["dataset_id"]
                score = client().score_sample(run.id, dataset_id, chosen, label=label)
            except GapscopeError as error:
                show_error(error)
                return
            st.query_params["sample"] = chosen
            st.query_params["score"] = score.id
            st.session_state.pop("refused", None)
