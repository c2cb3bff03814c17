"""The result of one score: player, verdict, gap among training's, classes, knock-outs, scores over time."""

from __future__ import annotations

from typing import Any, Final

import streamlit as st

from frontend.ui import media, words
from frontend.ui.charts import samples as charts
from frontend.ui.charts import scores as score_charts
from frontend.ui.charts.saving import Caption
from frontend.ui.history import History, split_report
from frontend.ui.panels import chart
from frontend.ui.service import client, show_error
from frontend.ui.verdict import (
    comparison,
    headline,
    knock_out_sentences,
    knock_out_table,
    missing_words,
    no_scores_words,
    place_words,
    posterior_words,
    problem_text,
    training_words,
)
from worker.contract.errors import GapscopeError
from worker.contract.scores import Score, ScoreResult

MOST_ROWS: Final = 1_000
"""Changed probabilities that the table draws; a run of 300 classes has 2,700."""


def draw(score: Score, history: History) -> None:
    """Draws an ended score.

    Args:
        score: it.
        history: of its run.
    """
    if score.error or score.result is None:
        problem = score.error
        st.error(problem_text(problem) if problem else "This score was cancelled.", icon=":material/error:")
        media.player(score.media, width=360)
        _delete(score)
        return
    result = score.result
    caption = Caption(run=score.run_id, epoch=score.epoch, num_samples=1, rule=f"clip {score.filename}")
    clip, numbers = st.columns([1, 1.5], gap="medium")
    with clip:
        media.player(score.media)
        label = f" · true class **{words.plain(score.label)}**" if score.label else ""
        st.caption(f"{words.plain(score.filename)} · epoch {score.epoch or words.NONE}{label}")
        _delete(score)
    with numbers:
        _verdict(result)
    _among_training(score, result, history)
    with st.container(border=True, key="score_bars"):
        _bars(result, score.label, caption)
    _knock_outs(result, caption)
    _over_time(score, result, caption)
    timing = " · ".join(f"{name.replace('_', ' ')} {value:.2f} s" for name, value in result.timing_s.items())
    if timing:
        st.caption(f"Took: {timing}")


def _verdict(result: ScoreResult) -> None:
    st.markdown(f"#### {headline(result)}")
    said = comparison(result)
    if said:
        st.markdown(said)
    missing = missing_words(result)
    if missing:
        st.warning(missing, icon=":material/info:")
    for note in result.notes:
        st.caption(f":material/info: {words.message(note)}")
    gap, posterior = st.columns(2)
    gap_of = f"Of the {result.gap_of}. {words.GAP_HELP}" if result.gap_of else words.GAP_HELP
    gap.metric("Score gap (audio - visual)", words.signed(result.gap), help=gap_of)
    posterior.metric(
        "Dominant group",
        words.percent(result.posterior_imbalanced),
        help=f"{words.POSTERIOR_TITLE}. {words.POSTERIOR_HELP}",
    )
    reason = posterior_words(result)
    if reason:
        st.caption(reason)
    beyond = training_words(result)
    if beyond:
        st.warning(beyond, icon=":material/warning:")
    elif result.gap_in_training is not None:
        st.caption(place_words(result.gap_in_training))


def _among_training(score: Score, result: ScoreResult, history: History) -> None:
    """Draws where the gap lies among those of the training split at the epoch of the model."""
    event = history.at(score.epoch) if score.epoch else None
    report = split_report(event, "train") if event else None
    if event is None or report is None or report.histogram is None or result.gap is None:
        return
    with st.container(border=True, key="score_gap"):
        chart.draw(
            score_charts.marked_gap(report, result.gap),
            key="chart_score_gap",
            title="This clip among the training clips",
            caption=Caption(
                score.run_id, event.epoch, "training", report.num_samples, f"marked: clip {score.filename}"
            ),
            level=6,
        )


def _bars(result: ScoreResult, true: str | None, caption: Caption) -> None:
    for column, (name, title) in zip(st.columns(3), words.MODALITIES.items(), strict=True):
        with column:
            probabilities = getattr(result.probabilities, name)
            heading = f"{title}: {getattr(result.predicted, name) or words.NONE}"
            if probabilities is None:
                st.markdown(f"###### {words.plain(heading)}")
                st.caption(no_scores_words(result, name))
            else:
                bars = charts.distribution_bars(probabilities, name, true)
                chart.draw(bars, key=f"chart_score_{name}", title=heading, caption=caption, level=6)


def _knock_outs(result: ScoreResult, caption: Caption) -> None:
    sentences, label = knock_out_sentences(result), result.predicted.fused
    if not sentences or label is None:
        return
    table = score_charts.change_table(result)
    with st.container(border=True, key="score_knock_outs"):
        st.markdown("###### When one modality is taken away")
        st.markdown("\n".join(f"- {sentence}" for sentence in sentences))
        points = knock_out_table(result)
        if points:
            st.markdown(points)
        dumbbells = score_charts.change_dumbbells(table, label)
        chart.draw(dumbbells, key="chart_knock_outs", title=f"“{label}” with and without", caption=caption, level=6)
        every = st.expander("Every probability", icon=":material/table_rows:", key="score_every", on_change="rerun")
        if every.open:
            with every:
                if len(table) > MOST_ROWS:
                    st.caption(f"The {MOST_ROWS:,} largest changes of {len(table):,}.")
                st.dataframe(table.head(MOST_ROWS), hide_index=True, column_config=_columns(), key="score_changes")


def _columns() -> dict[str, Any]:
    shares = {name: st.column_config.NumberColumn(name, format="percent") for name in ("before", "after", "change")}
    return {"knock_out": "with", **shares}


def _over_time(score: Score, result: ScoreResult, caption: Caption) -> None:
    target = score.label or result.predicted.fused or result.predicted.audio or result.predicted.visual
    if len(result.windows) < 2 or not target:
        return
    with st.container(border=True, key="score_windows"):
        windows = [
            (
                window.start_s,
                window.end_s,
                {name: (getattr(window.probabilities, name) or {}).get(target) for name in words.MODALITIES},
            )
            for window in result.windows
        ]
        lines = charts.window_lines(charts.window_table(windows))
        title = f"Score of “{target}” over the clip, {words.count(len(windows), 'window')}"
        chart.draw(lines, key="chart_windows", title=title, caption=caption, level=6)


def _delete(score: Score) -> None:
    """Draws the deletion of a score, asked twice."""
    with st.popover("Delete", icon=":material/delete:", type="tertiary", key="score_delete"):
        st.markdown("Deletes this score and its copy of the clip for good.")
        st.button(
            "Delete for good",
            type="primary",
            key="score_delete_confirmed",
            icon=":material/delete:",
            on_click=_deleted,
            args=(score.id,),
        )


def _deleted(score_id: str) -> None:
    """Deletes a score and leaves its address before the page is drawn again."""
    try:
        freed = client().delete_score(score_id)
    except GapscopeError as error:
        show_error(error)
        return
    st.query_params.pop("score", None)
    st.toast(f"Deleted; {words.size(freed)} freed.")
