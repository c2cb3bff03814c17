"""One clip of a run in detail: player, scores by modality, its way over the epochs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from frontend.ui import media, words
from frontend.ui.charts import samples as charts
from frontend.ui.history import History
from frontend.ui.service import client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run
from worker.contract.scores import SampleRow


def rows_of(answer: dict[str, Any]) -> list[SampleRow]:
    """Returns a sample's rows by epoch, from GET /runs/{id}/samples/{sample_id}."""
    rows = [SampleRow.model_validate(row) for row in answer.get("rows", ())]
    return sorted(rows, key=lambda row: row.epoch)


def at(rows: list[SampleRow], epoch: int) -> SampleRow | None:
    """Returns the row of an epoch, or of the newest before it, or of the first."""
    before = [row for row in rows if row.epoch <= epoch]
    return before[-1] if before else (rows[0] if rows else None)


def sentence(row: SampleRow) -> str:
    """Returns what the scores say of a clip, in one sentence."""
    if row.gap is None:
        return "This run has one modality only, so there is no gap."
    audio, visual = words.percent(row.p_true.audio), words.percent(row.p_true.visual)
    lead = "Audio leads" if row.gap > 0 else "Visual leads"
    if abs(row.gap) < 0.5:
        lead = "Similar scores"
    return f"{lead}: audio gives the true class “{row.label}” {audio}, visual {visual}; gap {words.signed(row.gap)}."


def draw(run: Run, history: History, sample_id: str | None, epoch: int) -> None:
    """Draws the chosen clip."""
    if not sample_id:
        st.caption("Choose a row to see and hear its clip.")
        return
    try:
        answer = client().sample(run.id, sample_id)
    except GapscopeError as error:
        show_error(error)
        return
    rows = rows_of(answer)
    row = at(rows, epoch)
    if row is None:
        st.caption("This run has no row of that clip.")
        return
    st.markdown(f"##### {row.sample_id}")
    video, scores = st.columns([1, 1.35], vertical_alignment="top")
    with video:
        media.player(answer.get("media", {}))
        st.caption(f"{words.SPLITS.get(row.split, row.split).capitalize()} split · true class **{row.label}**")
    with scores:
        st.markdown("###### Score of the true class")
        st.altair_chart(charts.true_class_bars(row), key="chart_sample_scores", width="stretch")
    st.markdown(sentence(row))
    gap, posterior, weight = st.columns(3)
    gap.metric("Score gap", words.signed(row.gap), help=words.GAP_HELP)
    posterior.metric(
        "Dominant group",
        words.percent(row.posterior_imbalanced),
        help=f"{words.POSTERIOR_TITLE}. {words.POSTERIOR_HELP}",
    )
    weight.metric(
        "Loss weight", words.decimal(row.loss_weight), help="Factor on the fused cross-entropy at this epoch."
    )
    _trajectory(run, history, rows, row.epoch)
    _facts(row)


def _trajectory(run: Run, history: History, rows: list[SampleRow], epoch: int) -> None:
    table = charts.trajectory_table(rows)
    planned, boundary = run.progress.epochs, history.stage_boundary()
    st.markdown("###### Over the epochs")
    st.altair_chart(charts.score_trajectory(table, planned, boundary, epoch), key="chart_sample_way", width="stretch")
    if table["gap"].notna().any():
        st.altair_chart(charts.gap_trajectory(table, planned, boundary, epoch), key="chart_sample_gap", width="stretch")


def _facts(row: SampleRow) -> None:
    facts = [(name.replace("_", " "), value) for name, value in row.notes.items()]
    facts += [(name.replace("_", " "), words.decimal(value, 3)) for name, value in row.quality.items()]
    if facts:
        with st.expander("Notes and quality", icon=":material/info:"):
            st.table(
                pd.DataFrame(facts, columns=["what", "value"]), border="horizontal", hide_index=True, hide_header=True
            )
