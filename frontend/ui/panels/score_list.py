"""The scores of a run as a table by pages, the newest first; a click opens one; each page as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd
import streamlit as st

from frontend.ui import words
from frontend.ui.charts.saving import in_csv
from frontend.ui.paging import Pager
from frontend.ui.service import client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.scores import ScoreSummary

TICK_S: Final = 1.0
PAGE: Final = 100
"""Scores of a page."""
SHOWN: Final = ("clip", "state", "fused", "p_fused", "audio", "visual", "gap", "posterior_imbalanced", "error")


def table_of(scores: Sequence[ScoreSummary]) -> pd.DataFrame:
    """Returns a row a score, in their order: what the page shows and the CSV holds."""
    return pd.DataFrame([_row(score) for score in scores])


def _row(score: ScoreSummary) -> dict[str, Any]:
    row: dict[str, Any] = {"clip": score.filename, "state": words.state_words(score.state)}
    for name in words.MODALITIES:
        row[name] = getattr(score.predicted, name) if score.predicted else None
        row[f"p_{name}"] = getattr(score.p_predicted, name) if score.p_predicted else None
    return row | {
        "gap": score.gap,
        "gap_of": score.gap_of,
        "posterior_imbalanced": score.posterior_imbalanced,
        "outside_training": score.outside_training,
        "label": score.label,
        "error": score.error.detail if score.error else None,
        "epoch": score.epoch,
        "created_at": score.created_at.isoformat(),
        "score_id": score.id,
    }


def draw(run_id: str) -> None:
    """Draws a page of the scores of a run, again each second while one of the newest is at work."""
    try:
        active = any(score.state not in words.ENDED for score in client().scores(run_id=run_id, limit=PAGE))
    except GapscopeError as error:
        show_error(error)
        return
    st.fragment(run_every=TICK_S if active else None, key="scores_tick")(_drawn)(run_id, active)


def _drawn(run_id: str, was_active: bool) -> None:
    pager = Pager("scores", {"run": run_id})
    try:
        newest = client().scores(run_id=run_id, limit=PAGE)
        page = newest if pager.cursor is None else client().scores(run_id=run_id, limit=PAGE, cursor=pager.cursor)
    except GapscopeError as error:
        show_error(error)
        return
    if was_active and all(score.state in words.ENDED for score in newest):
        st.rerun()
    if not page.items:
        st.caption("No clip was tested with this run yet." if pager.number == 1 else "These scores were deleted.")
        pager.draw(page.next, ("Newer", "Older"))
        return
    table = table_of(page.items)
    ids = list(table["score_id"])
    key = f"scores_table_{len(ids)}_{ids[0]}"  # a choice ends with the rows that it was made in
    st.dataframe(
        table[[name for name in SHOWN if name in ("clip", "state") or table[name].notna().any()]],
        key=key,
        hide_index=True,
        on_select=lambda: _chosen(key, ids),
        selection_mode="single-row",
        column_config=_columns(),
        height=min(320, 36 * (len(table) + 1) + 3),
    )
    if st.session_state.pop("scores_open", False):
        st.rerun()
    st.caption("Choose a row to open its result.")
    pager.draw(page.next, ("Newer", "Older"))
    number = f"-{pager.number}" if pager.number > 1 or page.next else ""
    st.download_button(
        "Page as CSV" if number else "Table as CSV",
        in_csv(table),
        file_name=f"{run_id}-scores{number}.csv",
        key="scores_csv",
        icon=":material/download:",
        on_click="ignore",
    )


def _chosen(key: str, ids: list[str]) -> None:
    """Opens the score whose row was chosen."""
    rows = st.session_state[key]["selection"]["rows"]
    if rows and rows[0] < len(ids):
        st.query_params["score"] = ids[rows[0]]
        st.session_state["scores_open"] = True


def _columns() -> dict[str, Any]:
    share = st.column_config.NumberColumn
    return {
        "fused": "Fused",
        "p_fused": share("Its prob.", format="percent"),
        "audio": "Audio",
        "visual": "Visual",
        "gap": share("Gap", format="%+.2f", help=words.GAP_HELP),
        "posterior_imbalanced": share("Dominant", format="percent", help=words.POSTERIOR_TITLE),
        "clip": "Clip",
        "state": "State",
        "error": "Why not",
    }
