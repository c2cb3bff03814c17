"""One clip of a run in detail: player, what the model sees and hears, scores by modality, its way over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import streamlit as st

from frontend.ui import leading, links, media, quality, words
from frontend.ui.charts import samples as charts
from frontend.ui.charts.saving import Caption
from frontend.ui.history import History
from frontend.ui.panels import chart, clip_contents
from frontend.ui.panels.header import run_title
from frontend.ui.service import browser_address, client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run
from worker.contract.scores import SampleRow

SHOWN: Final = "samples_shown"
"""Where the session keeps the ids of the page of clips that is shown."""


def neighbours(shown: Sequence[str], sample_id: str) -> tuple[str | None, str | None]:
    """Returns the clips before and after one on the shown page; None at its ends, and where it is not on it."""
    if sample_id not in shown:
        return None, None
    place = shown.index(sample_id)
    return (shown[place - 1] if place else None), (shown[place + 1] if place + 1 < len(shown) else None)


def rows_of(answer: dict[str, Any]) -> list[SampleRow]:
    """Returns a sample's rows by epoch, from GET /runs/{id}/samples/{sample_id}."""
    rows = [SampleRow.model_validate(row) for row in answer.get("rows", ())]
    return sorted(rows, key=lambda row: row.epoch)


def at(rows: list[SampleRow], epoch: int) -> SampleRow | None:
    """Returns the row of an epoch, or of the newest before it, or of the first."""
    before = [row for row in rows if row.epoch <= epoch]
    return before[-1] if before else (rows[0] if rows else None)


def sentence(row: SampleRow) -> str:
    """Returns what the scores say of a clip, in a sentence, and where the mixture differs from that, in another."""
    if row.gap is None:
        return "This run has one modality only, so there is no gap."
    audio, visual = words.percent(row.p_true.audio), words.percent(row.p_true.visual)
    label, gap = words.plain(row.label), words.signed(row.gap)
    lead = leading.lead(row.gap, row.posterior_imbalanced)
    said = f"{lead}: audio gives the true class “{label}” {audio}, visual {visual}; gap {gap}."
    differs = leading.difference(row.gap, row.posterior_imbalanced)
    return f"{said} {differs}" if differs else said


def draw(run: Run, history: History, sample_id: str | None, epoch: int) -> None:
    """Draws the chosen clip."""
    if not sample_id:
        st.caption("Choose a row to see and hear its clip.")
        return
    try:
        answer = client().sample(run.id, sample_id, epoch=epoch)
    except GapscopeError as error:
        show_error(error)
        return
    rows = rows_of(answer)
    row = at(rows, epoch)
    if row is None:
        st.caption("This run has no row of that clip.")
        return
    _heading(row.sample_id)
    video, scores = st.columns([1, 1.35], vertical_alignment="top")
    with video:
        with st.container(key=clip_contents.PLAYER):
            media.player(answer.get("media", {}))
        st.caption(
            f"{words.SPLITS.get(row.split, row.split).capitalize()} split · true class **{words.plain(row.label)}**"
        )
    with scores:
        caption = Caption(run_title(run), row.epoch, words.SPLITS.get(row.split, ""), 1, f"clip {row.sample_id}")
        chart.draw(
            charts.true_class_bars(row),
            key="chart_sample_scores",
            title="Score of the true class",
            caption=caption,
            level=6,
        )
    st.markdown(sentence(row))
    _deeds(run, answer, row)
    for title, value in quality.faults(row.quality):
        st.badge(f"{title}: {value}", icon=":material/warning:", color="orange")
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
    if answer.get("dataset_id"):
        where = Caption(run_title(run), None, words.SPLITS.get(row.split, ""), 1, f"clip {row.sample_id}")
        clip_contents.draw(answer["dataset_id"], row.sample_id, answer.get("media", {}), where)
    _trajectories(run, history, rows, answer["trajectory"], row.epoch)
    _facts(row)


def _heading(sample_id: str) -> None:
    """Draws the clip's name, with the ways to the one before and after it on the page."""
    before, after = neighbours(st.session_state.get(SHOWN, ()), sample_id)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"##### {words.plain(sample_id)}", anchors=False)
        with st.container(horizontal=True, width="content"):
            for name, target, icon in (
                ("Previous clip", before, "chevron_left"),
                ("Next clip", after, "chevron_right"),
            ):
                st.button(
                    name,
                    key=f"go_{name.split()[0].lower()}_clip",
                    icon=f":material/{icon}:",
                    type="tertiary",
                    disabled=target is None,
                    on_click=_choose,
                    args=(target,),
                )


def _choose(sample_id: str | None) -> None:
    if sample_id:
        st.query_params["sample"] = sample_id


def _deeds(run: Run, answer: dict[str, Any], row: SampleRow) -> None:
    """Draws the ways on: the clip under the run's model with every class's probability, and its file."""
    with st.container(horizontal=True, vertical_alignment="center"):
        links.link(
            "test_clip",
            "Test this clip: every class, knock-outs, scores over time",
            icon=":material/movie:",
            run=run.id,
            sample=row.sample_id,
        )
        video = answer.get("media", {}).get("video")
        if video:
            st.link_button("The file", browser_address(f"{video}&original=true"), icon=":material/download:")


def _trajectories(
    run: Run, history: History, rows: list[SampleRow], gaps: Mapping[str, Sequence[Any]], epoch: int
) -> None:
    """Draws the scores over the epochs of which there are rows, and the gap over all."""
    table, gap_table = charts.trajectory_table(rows), charts.gap_table(gaps)
    planned, boundaries = run.progress.epochs, history.boundaries()
    caption = Caption(run_title(run), None, words.SPLITS.get(rows[0].split, ""), 1, f"clip {rows[0].sample_id}")
    chart.draw(
        charts.score_trajectory(table, planned, boundaries, epoch),
        key="chart_sample_way",
        title="Score of the true class over the epochs",
        caption=caption,
        level=6,
        note=None if len(rows) >= len(gap_table) else f"Epochs {rows[0].epoch} to {rows[-1].epoch} alone.",
    )
    if gap_table["gap"].notna().any():
        chart.draw(
            charts.gap_trajectory(gap_table, planned, boundaries, epoch),
            key="chart_sample_gap",
            title="Gap over the epochs",
            caption=caption,
            level=6,
        )


def _facts(row: SampleRow) -> None:
    facts = [(name.replace("_", " "), value) for name, value in row.notes.items()]
    facts += quality.facts(row.quality)
    if facts:
        with st.expander("Notes and quality", icon=":material/info:"):
            st.table(
                pd.DataFrame(facts, columns=["what", "value"]), border="horizontal", hide_index=True, hide_header=True
            )
