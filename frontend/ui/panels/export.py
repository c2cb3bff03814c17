"""The Export tab: the run's tables as files, straight from the API."""

from __future__ import annotations

from typing import Final, Literal
from urllib.parse import urlencode

import streamlit as st

from frontend.ui import words
from frontend.ui.feed import feed_of
from frontend.ui.panels import epoch_controls
from frontend.ui.panels.header import before_first_epoch
from frontend.ui.service import api_key, api_url, browser_address, client
from worker.contract.errors import GapscopeError
from worker.contract.resources import ExportSize, Run

Table = Literal["samples", "epochs"]
SPLITS: Final[dict[str, str | None]] = {
    "All splits": None,
    "Training": "train",
    "Validation": "validation",
    "Test": "test",
}


def address(run_id: str, **parameters: object) -> str:
    """Returns the API's address of a table; parameters without a value are left out."""
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    return f"/api/v1/runs/{run_id}/export?{query}"


def draw(run: Run) -> None:
    """Draws the tab."""
    history = feed_of(run.id).advance(client())
    if not history.epochs:
        before_first_epoch(run, "Tables")
        return
    left, right = st.columns(2, gap="medium")
    with left.container(border=True, height="stretch", key="export_samples"):
        st.markdown("##### Samples of one epoch", anchors=False)
        st.caption(
            "A row for each clip: scores of the true class, predictions, gap, probability of the dominant group, loss "
            "weight, quality, notes. The Samples tab exports a selection."
        )
        first, second = st.columns(2)
        shown = epoch_controls.shown_epoch(run.id, history.newest)
        epoch = first.number_input("Epoch", 1, history.newest, shown, key="export_epoch")
        split = second.selectbox("Split", list(SPLITS), key="export_split")
        _links(run, "samples", history.newest, int(epoch), SPLITS[split])
    with right.container(border=True, height="stretch", key="export_epochs"):
        st.markdown("##### One row an epoch", anchors=False)
        st.caption(
            "Accuracies, mean gaps, mixture parameters, loss terms and shares of the gradient of every finished epoch. "
            "It names the protocol that made the numbers."
        )
        _links(run, "epochs", history.newest)
    with st.container(border=True, key="export_code"):
        st.markdown("##### In a notebook", anchors=False)
        st.code(
            "from frontend.client import GapscopeClient\n\n"
            f'client = GapscopeClient("{api_url()}")\n'
            f'samples = client.samples("{run.id}")  # a pandas DataFrame\n',
            language="python",
        )


def _links(run: Run, table: Table, newest: int, epoch: int | None = None, split: str | None = None) -> None:
    """Draws the ways to a table's files, with their sizes."""
    try:
        size = _size(run.id, table, newest, epoch, split, api_key())
    except GapscopeError as error:
        st.caption(words.message(str(error)))
        return
    st.caption(f"{words.count(size.num_rows, 'row')}.")
    with st.container(horizontal=True):
        for kind, label, num_bytes in (("csv", "CSV", size.csv_bytes), ("parquet", "Parquet", size.parquet_bytes)):
            st.link_button(
                f"{label}, {'' if size.exact else 'about '}{words.size(num_bytes)}",
                browser_address(address(run.id, table=table, format=kind, epoch=epoch, split=split)),
                icon=":material/download:",
            )


@st.cache_data(ttl=20, max_entries=256, show_spinner=False)
def _size(run_id: str, table: Table, newest: int, epoch: int | None, split: str | None, key: str | None) -> ExportSize:
    del newest, key  # part of the cache's key
    return client().export_size(run_id, table=table, epoch=epoch, split=split)
