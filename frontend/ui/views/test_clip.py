"""Page: upload a clip and see what a run's model makes of its sound and of its picture."""

from __future__ import annotations

from typing import Final

import streamlit as st

from frontend.ui import links, media, words
from frontend.ui.charts import samples as charts
from frontend.ui.components.elements import upload
from frontend.ui.feed import feed_of
from frontend.ui.panels.header import run_title
from frontend.ui.service import browser_address, client, show_error
from frontend.ui.verdict import comparison, headline, knock_out_sentences, missing_words, posterior_words, problem_text
from worker.contract.errors import GapscopeError, Problem
from worker.contract.resources import Run
from worker.contract.scores import Score, ScoreResult

TICK_S: Final = 1.0
MOST_RUNS: Final = 100


def page() -> None:
    """Draws the page."""
    st.title("Test a clip", anchor=False)
    runs = [run for run in client().runs(limit=MOST_RUNS, sort="-created_at").items if run.summary is not None]
    if not runs:
        with st.container(border=True, key="test_clip_empty"):
            st.subheader("No model yet", anchor=False)
            st.markdown("A clip is scored by the model of a run. A run has one as soon as its first epoch has ended.")
            if st.button("Start a run", key="go_new_run", type="primary", icon=":material/add:"):
                links.go("new_run")
        return
    left, right = st.columns([1, 1.7], gap="large")
    with left:
        run, label = _choices(runs)
        sent = upload(browser_address("/api/v1/scores"), run.id, label, key="upload")
        st.caption(
            "The file goes straight to the API. A clip without sound or without picture is scored by the one it has; a "
            "short one is filled up."
        )
        if sent.score_id:
            st.query_params["score"] = sent.score_id
            st.session_state.pop("refused", None)
        elif sent.refused:
            st.session_state["refused"] = sent.refused
            st.query_params.pop("score", None)
    with right:
        _outcome()


def _choices(runs: list[Run]) -> tuple[Run, str | None]:
    """Draws the choice of run and of the true class."""
    by_id = {run.id: run for run in runs}
    asked = st.query_params.get("run", "")
    ids = list(by_id)
    run_id = st.selectbox(
        "Model of the run",
        ids,
        index=ids.index(asked) if asked in by_id else 0,
        format_func=lambda one: f"{run_title(by_id[one])} · {by_id[one].spec.objective.kind}",
        key="test_run",
    )
    st.query_params["run"] = run_id
    started = feed_of(run_id).advance(client()).started
    label = st.selectbox(
        "True class, if you know it",
        started.classes if started else [],
        index=None,
        placeholder="Unknown: the gap is that of the fused prediction",
        key="test_label",
    )
    return by_id[run_id], label


def _outcome() -> None:
    """Draws the refusal, or the score that the address names, with progress while it is computed."""
    refused: Problem | None = st.session_state.get("refused")
    if refused:
        st.error(problem_text(refused), icon=":material/error:")
        return
    score_id = st.query_params.get("score")
    if not score_id:
        with st.container(border=True, key="score_none"):
            st.markdown("###### What you will see")
            st.markdown(
                "- the clip, to play\n"
                "- what **audio** alone, **visual** alone and both **fused** make of it\n"
                f"- its **score gap (audio - visual)** and the {words.POSTERIOR_TITLE.lower()}\n"
                "- what changes when the sound is muted or the picture frozen"
            )
        return
    try:
        score = client().get_score(score_id)
    except GapscopeError as error:
        show_error(error)
        return
    if score.state in words.ENDED:
        _ended(score)
        return
    st.fragment(run_every=TICK_S, key="score_tick")(_waiting)(score.id)


def _waiting(score_id: str) -> None:
    """Draws the progress of a score; when it has ended, the whole page is drawn once more."""
    try:
        score = client().get_score(score_id)
    except GapscopeError as error:
        show_error(error)
        return
    if score.state in words.ENDED:
        st.rerun()
    st.status(f"{score.filename}: {words.state_words(score.state).lower()} …", state="running")


def _ended(score: Score) -> None:
    if score.error or score.result is None:
        problem = score.error
        st.error(problem_text(problem) if problem else "This score was cancelled.", icon=":material/error:")
        media.player(score.media, width=360)
        return
    _result(score, score.result)


def _result(score: Score, result: ScoreResult) -> None:
    clip, numbers = st.columns([1, 1.5], gap="medium")
    with clip:
        media.player(score.media)
        label = f" · true class **{score.label}**" if score.label else ""
        st.caption(f"{score.filename} · epoch {score.epoch or words.NONE}{label}")
    with numbers:
        st.markdown(f"#### {headline(result)}")
        said = comparison(result)
        if said:
            st.markdown(said)
        missing = missing_words(result)
        if missing:
            st.warning(missing, icon=":material/info:")
        for note in result.notes:
            st.caption(f":material/info: {note}")
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
    with st.container(border=True, key="score_bars"):
        _bars(result)
    _more(result)


def _bars(result: ScoreResult) -> None:
    for column, (name, title) in zip(st.columns(3), words.MODALITIES.items(), strict=True):
        with column:
            probabilities = getattr(result.probabilities, name)
            st.markdown(f"###### {title}: {getattr(result.predicted, name) or words.NONE}")
            if probabilities is None:
                st.caption(
                    f"Not in this clip: no {'sound' if name == 'audio' else 'picture'}."
                    if name != "fused"
                    else "Needs sound and picture."
                )
            else:
                chart = charts.distribution_bars(probabilities, name)
                st.altair_chart(chart, key=f"chart_score_{name}", width="stretch")


def _more(result: ScoreResult) -> None:
    sentences = knock_out_sentences(result)
    if sentences:
        with st.container(border=True, key="score_knock_outs"):
            st.markdown("###### When one modality is taken away")
            st.markdown("\n".join(f"- {sentence}" for sentence in sentences))
    target = result.predicted.fused or result.predicted.audio or result.predicted.visual
    if len(result.windows) > 1 and target:
        with st.container(border=True, key="score_windows"):
            st.markdown(f"###### Score of “{target}” over the clip")
            windows = [
                (
                    window.start_s,
                    window.end_s,
                    {name: (getattr(window.probabilities, name) or {}).get(target) for name in words.MODALITIES},
                )
                for window in result.windows
            ]
            st.altair_chart(charts.window_lines(charts.window_table(windows)), key="chart_windows", width="stretch")
    timing = " · ".join(f"{name.replace('_', ' ')} {value:.2f} s" for name, value in result.timing_s.items())
    if timing:
        st.caption(f"Took: {timing}")
