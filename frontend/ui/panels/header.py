"""Head of the Run page: what the run is doing, in words and few numbers, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import streamlit as st

from frontend.ui import words
from frontend.ui.service import method_title
from worker.contract.resources import Run

MOST_TAGS: Final = 5
"""Tags that the head names; all of them stand in its help."""


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


def before_first_epoch(run: Run, what: str) -> None:
    """Draws why there is nothing to show of a run without a finished epoch.

    Args:
        run: in any state.
        what: that appears later, such as "Charts".
    """
    icon = "info" if run.state in words.ENDED else "hourglass_empty"
    st.info(words.plain(nothing_words(run, what)), icon=f":material/{icon}:")


def nothing_words(run: Run, what: str) -> str:
    """Returns why there is nothing to show, in words."""
    if run.state in words.ENDED:
        return "This run ended before its first epoch was complete: there is nothing to show."
    now = situation(run) if run.state in ("queued", "lost") else "The first epoch is under way."
    return f"{now} {what} appear with the first finished epoch."


def tag_words(tags: Sequence[str]) -> str:
    """Returns the tags of a run in a line: the first ones, and how many more there are."""
    more = len(tags) - MOST_TAGS
    return " · ".join([*tags[:MOST_TAGS], *([f"{words.count(more, 'more tag')}"] if more > 0 else [])])


def head(run: Run, buttons: Callable[[Run], None]) -> None:
    """Draws title, state and the buttons; outside of the fragment, since it changes with the state only."""
    left, right = st.columns(2, vertical_alignment="center")
    with left:
        st.subheader(words.plain(run_title(run)), anchor=False)
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.badge(
                words.state_words(run.state),
                icon=words.STATE_ICONS.get(run.state),
                color=words.STATE_COLOURS.get(run.state, "gray"),  # type: ignore[arg-type]
            )
            parts = [
                method_title(run.spec.objective.kind),
                dataset_words(run),
                f"protocol {run.spec.dataset.protocol}",
                f"seed {run.spec.seed}",
                *([tag_words(run.tags)] if run.tags else []),
            ]
            hint = words.plain(" · ".join(run.tags)) if len(run.tags) > MOST_TAGS else None
            st.caption(words.plain(" · ".join(parts)), width="content", help=hint)
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        buttons(run)


def numbers(run: Run) -> None:
    """Draws progress and the figures that change each second."""
    progress(run)
    _figures(run)


def progress(run: Run) -> None:
    """Draws the progress bar with what the run is doing now."""
    if run.state in words.ENDED:
        st.caption(words.plain(situation(run)))
    else:
        st.progress(run.progress.fraction, text=words.plain(situation(run)))


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


def told() -> None:
    """Draws what the last action answered, once."""
    message = st.session_state.pop("told", None)
    if message:
        st.toast(words.plain(message), icon=":material/check:")
