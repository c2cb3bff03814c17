"""What is known when a run has ended: the test split at the chosen and at the last epoch, and the neutral probe."""

from __future__ import annotations

import streamlit as st

from frontend.ui import words
from frontend.ui.history import known_accuracies
from worker.contract.events import RunResult, SplitReport


def draw(result: RunResult, protocol: str) -> None:
    """Draws the result of a run, and the protocol that made it."""
    chosen, last = result.chosen, result.last
    st.markdown("##### At the end", anchors=False)
    cells = figures(chosen.test)
    probes = {"audio": result.probes.audio, "visual": result.probes.visual}
    cells += [
        (f"Frozen features: {name}", words.percent(value), PROBE_HELP)
        for name, value in probes.items()
        if value is not None
    ]
    for column, (label, value, hint) in zip(st.columns(max(1, len(cells))), cells, strict=False):
        column.metric(label, value, help=hint)
    st.caption(f"{sentence(result)} Protocol: {protocol}.")
    if result.stopped_early:
        st.caption(f"The run ended early, after epoch {last.epoch}: validation had not got better for a while.")
    if chosen.test is not None and last.test is not None and last.epoch != chosen.epoch:
        values = " · ".join(f"{label.removeprefix('Test: ')} {value}" for label, value, _ in figures(last.test))
        st.caption(f"At the last epoch ({last.epoch}): {values}.")


PROBE_HELP = (
    "Logistic regression on this encoder's frozen features, trained on the training split and read on validation: what "
    "the encoder knows, whatever the run's own heads say."
)


def figures(test: SplitReport | None) -> list[tuple[str, str, str | None]]:
    """Returns label, value and help of the test split's figures that the run has; none without a test split."""
    if test is None:
        return []
    cells: list[tuple[str, str, str | None]] = [
        (f"Test: {name}", words.percent(value), None) for name, value in known_accuracies(test).items()
    ]
    if test.mean_abs_gap is not None:
        cells.append(("Test: mean |gap|", words.decimal(test.mean_abs_gap), words.GAP_HELP))
    return cells


def sentence(result: RunResult) -> str:
    """Returns which epoch the figures belong to, who chose it, and of how many clips."""
    chosen = result.chosen
    if chosen.test is None:
        return "This dataset has no test split."
    clips = words.count(chosen.test.num_samples, "test clip")
    by = {"validation": "chosen by validation", "last": "the last one"}.get(
        chosen.by, "the best on test, so optimistic"
    )
    return f"Accuracies on {clips} at epoch {chosen.epoch}, {by}."
