"""Head of the Run page: what the run is doing, in words and few numbers, and what can be done with it."""

from __future__ import annotations

import streamlit as st

from frontend.ui import links, words
from frontend.ui.once import first_press
from frontend.ui.service import client, method_title, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run


def run_title(run: Run) -> str:
    """Returns the run's name for people."""
    return run.name or f"{run.spec.objective.kind}, seed {run.spec.seed}"


def dataset_words(run: Run) -> str:
    """Returns the dataset of a run: its id once resolved, else its kind or id as asked for."""
    choice = run.spec.dataset
    return str(getattr(choice, "kind", None) or getattr(choice, "id", words.NONE))


def waited_dataset(run: Run) -> str | None:
    """Returns the id of the dataset whose preparation a run waits for; None where it waits for none."""
    kind, _, dataset_id = (run.waiting_for or "").partition(" ")
    return dataset_id if kind == "dataset" and dataset_id and " " not in dataset_id else None


def situation(run: Run) -> str:
    """Returns what the run is doing now, as one line."""
    progress = run.progress
    where = f"epoch {progress.epoch} of {progress.epochs}"
    if run.state == "queued":
        if waited_dataset(run):
            return f"Waiting until the clips of {waited_dataset(run)} are prepared."
        if run.waiting_for:
            return f"Waiting for {run.waiting_for}."
        place = f" (number {run.queue_position} in the queue)" if run.queue_position else ""
        return f"Waiting for a free worker{place}."
    if run.state == "lost":
        return f"Interrupted after {where}; it goes on by itself when a worker takes it up."
    if run.state in words.ENDED:
        took = ""
        if run.started_at and run.finished_at:
            took = f", after {words.duration((run.finished_at - run.started_at).total_seconds())}"
        return f"Ended {words.ago(run.finished_at)}{took}: {where}."
    stage = words.STAGES[progress.stage]
    now = min(progress.epoch + 1, progress.epochs)
    return f"{stage} · epoch {now} of {progress.epochs}: {words.PHASES[progress.phase]}."


def head(run: Run) -> None:
    """Draws title, state and the buttons; outside of the fragment, since it changes with the state only."""
    left, right = st.columns([3, 2], vertical_alignment="center")
    with left:
        st.subheader(run_title(run), anchor=False)
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.badge(
                words.state_words(run.state),
                icon=words.STATE_ICONS.get(run.state),
                color=words.STATE_COLOURS.get(run.state, "gray"),  # type: ignore[arg-type]
            )
            parts = [method_title(run.spec.objective.kind), dataset_words(run), f"seed {run.spec.seed}", *run.tags]
            st.caption(" · ".join(parts), width="content")
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        _buttons(run)


def numbers(run: Run) -> None:
    """Draws progress and the figures that change each second."""
    progress(run)
    _figures(run)


def progress(run: Run) -> None:
    """Draws the progress bar with what the run is doing now."""
    if run.state in words.ENDED:
        st.caption(situation(run))
    else:
        st.progress(run.progress.fraction, text=situation(run))


def _figures(run: Run) -> None:
    progress = run.progress
    device = run.resolved_spec.device if run.resolved_spec else words.NONE
    summary = run.summary
    cells = [
        ("Epoch", f"{progress.epoch} / {progress.epochs}", "Finished epochs of those planned."),
        ("Time left", words.duration(progress.eta_s) if run.state in words.ACTIVE else words.NONE, "Estimate."),
        ("Clips per second", words.decimal(progress.samples_per_s, 0), None),
        ("Device", device, "Where this run computes."),
        ("Fused accuracy", words.percent(summary.accuracy.fused) if summary else words.NONE, "Validation split."),
        ("Mean |gap|", words.decimal(summary.mean_abs_gap if summary else None), words.GAP_HELP),
    ]
    for column, (label, value, hint) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(label, value, help=hint)


def _buttons(run: Run) -> None:
    if run.state in {"queued", "running", "lost"}:
        st.button("Cancel", key="cancel_run", icon=":material/stop_circle:", on_click=_act, args=("cancel", run.id))
    if run.state in {"failed", "cancelled"}:
        st.button(
            "Resume",
            key="resume_run",
            icon=":material/play_arrow:",
            on_click=_act,
            args=("resume", run.id),
            type="primary",
        )
    st.button("Clone", key="clone_run", icon=":material/content_copy:", on_click=_act, args=("clone", run.id))
    if st.button("Test a clip", key="run_test_clip", icon=":material/movie:", disabled=run.summary is None):
        links.go("test_clip", run=run.id)


def _act(what: str, run_id: str) -> None:
    """Does what a button says; what the API answers is told by `told`."""
    if not first_press(f"{what} {run_id}"):
        return
    api = client()
    try:
        if what == "cancel":
            api.cancel(run_id)
            st.session_state["told"] = "Cancelling: the run saves its state first."
        elif what == "resume":
            api.resume(run_id)
            st.session_state["told"] = "Resumed from the last finished epoch."
        else:
            copy = api.clone(run_id)
            st.session_state["told"] = f"Cloned as “{run_title(copy)}”; see Runs."
    except GapscopeError as error:
        st.session_state["told_error"] = error


def told() -> None:
    """Draws what the last action answered, once."""
    message = st.session_state.pop("told", None)
    if message:
        st.toast(message, icon=":material/check:")
    error = st.session_state.pop("told_error", None)
    if error:
        show_error(error)
