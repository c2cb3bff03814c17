"""Page: upload a clip and see what a run's model makes of its sound and of its picture."""

from __future__ import annotations

from typing import Final

import streamlit as st

from frontend.ui import links, words
from frontend.ui.components.elements import upload
from frontend.ui.feed import feed_of
from frontend.ui.panels import score_list, score_result, score_sample
from frontend.ui.panels.header import run_title
from frontend.ui.panels.score_batch import batch_panel
from frontend.ui.service import browser_address, client, show_error
from frontend.ui.verdict import problem_text
from worker.contract.errors import GapscopeError, Problem
from worker.contract.resources import Run

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
        sent = upload(browser_address("/api/v1/scores", "POST"), run.id, label, key="upload")
        st.caption(
            "The file goes straight to the API. A clip without sound or without picture is scored by the one it has; a "
            "short one is filled up. With several, the true class counts for all; a wav beside a video of the "
            "same name is its sound."
        )
        if sent.score_id:
            st.query_params["score"] = sent.score_id
            st.session_state.pop("refused", None)
        if sent.refused:
            st.session_state["refused"] = sent.refused
        score_sample.draw(run, label)
        batch_panel(run.id)
    with right:
        _outcome()
        st.markdown("##### Tested with this run", anchors=False)
        score_list.draw(run.id)


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
    refused: list[tuple[str, Problem]] | None = st.session_state.get("refused")
    if refused:
        for filename, problem in refused:
            st.error(f"{words.plain(filename)}: {problem_text(problem)}", icon=":material/error:")
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
        score_result.draw(score, feed_of(score.run_id).advance(client()))
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
    st.status(f"{words.plain(score.filename)}: {words.state_words(score.state).lower()} …", state="running")
