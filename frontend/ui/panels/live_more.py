"""The charts below the four panels of the Live tab: mixture, gaps over epochs, flow, classes, gradients, method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pandas as pd
import streamlit as st

from frontend.ui import history as folding
from frontend.ui import words
from frontend.ui.charts import classes, gaps
from frontend.ui.charts import epochs as over_epochs
from frontend.ui.charts.flow import flow_chart, flow_table, moved_words
from frontend.ui.charts.prepared import Prepared
from frontend.ui.charts.saving import Caption
from frontend.ui.history import History, MixtureName, Split
from frontend.ui.panels import chart
from frontend.ui.panels.header import run_title
from frontend.ui.service import client
from worker.contract.errors import GapscopeError
from worker.contract.events import EpochFinished
from worker.contract.resources import Run

MORE: Final[dict[str, tuple[str, str | None]]] = {
    "means": ("Fitted Gaussians: mean ± one standard deviation", None),
    "weights": ("Fitted Gaussians: weights", None),
    "heat": ("Gaps by epoch: the stronger the colour, the more clips", None),
    "mean_gap": ("Mean size of the gap", words.GAP_HELP),
    "groups": ("Groups over epochs", None),
    "gradients": (
        "Share of the gradient by branch",
        "Of the squared norm of the gradient, summed over an epoch's steps: who moves the weights.",
    ),
    "method": ("The method's own numbers", "What this method computed in each epoch; its page in the docs names them."),
    "loss": ("Loss terms", "Means over an epoch's training steps, nats where they are cross-entropies."),
}
OF_GAPS: Final = frozenset({"means", "weights", "heat", "mean_gap", "groups"})
"""What a run on one modality has nothing of."""


def draw(run: Run, history: History, shown: EpochFinished, split: Split, mixture: MixtureName) -> None:
    """Draws all of it, two charts a row."""
    charts = _charts(run.id, history.newest, shown.epoch, split, mixture, run.progress.epochs, history)
    has_gaps = shown.train.histogram is not None
    parts: list[Callable[[], None]] = [
        _part(run, shown, split, name, charts[name])
        for name in MORE
        if name in charts and (has_gaps or name not in OF_GAPS)
    ]
    if has_gaps:
        parts.insert(5, lambda: _flow(run, history, shown, split))
        parts.append(lambda: _classes(run, shown, split))
    for start in range(0, len(parts), 2):
        for column, part in zip(st.columns(2, gap="medium"), parts[start : start + 2], strict=False):
            with column.container(border=True, height="stretch", key=f"more_{start}_{parts.index(part)}"):
                part()


def _part(run: Run, shown: EpochFinished, split: Split, name: str, made: Any) -> Callable[[], None]:
    title, hint = MORE[name]
    of_training = name in ("gradients", "method", "loss")
    caption = Caption(run_title(run), None, words.SPLITS["train" if of_training else split])

    def part() -> None:
        chart.draw(made, key=f"chart_more_{name}", title=title, caption=caption, hint=hint, level=6)

    return part


@st.cache_resource(max_entries=64, show_spinner=False)
def _charts(
    run_id: str, newest: int, shown: int, split: Split, mixture: MixtureName, planned: int, _history: History
) -> dict[str, Prepared]:
    """Returns the charts of MORE that have something to show: made once an epoch, whoever looks."""
    del run_id, newest  # part of the cache's key
    where = _history.boundaries()
    means = folding.mixture_table(_history, split, mixture)
    method, loss = folding.number_table(_history, "method"), folding.number_table(_history, "loss_terms")
    made = {
        "means": over_epochs.mixture_means(means, planned, where),
        "weights": over_epochs.mixture_weights(means, planned, where),
        "mean_gap": over_epochs.mean_gap(folding.gap_table(_history, split), planned, where, shown),
        "groups": over_epochs.groups_over_epochs(folding.group_table(_history, split), planned, where),
        "heat": gaps.heat_map(folding.heat_table(_history, split), planned, where),
        "gradients": over_epochs.gradient_shares(folding.share_table(_history), planned, where),
    }
    if not method.empty:
        made["method"] = over_epochs.numbers(method, planned, where, "value")
    if not loss.empty:
        made["loss"] = over_epochs.numbers(loss, planned, where, "loss")
    return {name: Prepared(chart) for name, chart in made.items()}


def _flow(run: Run, history: History, shown: EpochFinished, split: Split) -> None:
    """Draws how clips moved between the groups, from a chosen epoch to the shown one."""
    options = [event.epoch for event in history.epochs if event.epoch < shown.epoch]
    title = f"From group to group, up to epoch {shown.epoch}"
    if not options:
        st.markdown(f"###### {title}", anchors=False)
        st.caption("There is no earlier epoch to compare with.")
        return
    asked = st.query_params.get("flow_from", "")
    start = int(asked) if asked.isdigit() and int(asked) in options else _default_start(history, shown)
    key = f"flow_from_{start}"
    try:
        answer = flow_answer(run.id, start, shown.epoch, split)
        table = flow_table(answer)
    except GapscopeError as error:
        st.markdown(f"###### {title}", anchors=False)
        st.caption(f"The flow cannot be had just now: {words.plain(error.detail)}")
        table = None
    if table is not None:
        rule = f"groups by the training mixture, epoch {start} to {shown.epoch}"
        caption = Caption(run_title(run), shown.epoch, words.SPLITS[split], answer["num_samples"], rule)
        chart.draw(
            flow_chart(table, start, shown.epoch),
            key="chart_flow",
            title=title,
            caption=caption,
            hint="Groups by the mixture fitted to the training gaps of each epoch: dominant from a probability of one "
            "half on, audio or visual by the sign of the gap.",
            level=6,
            note=moved_words(table),
        )
    st.selectbox("From epoch", options, options.index(start), key=key, on_change=_start_chosen, args=(key,))


def _default_start(history: History, shown: EpochFinished) -> int:
    boundary = history.stage_boundary()
    return boundary if boundary is not None and boundary < shown.epoch else 1


def _start_chosen(key: str) -> None:
    st.query_params["flow_from"] = str(st.session_state[key])


@st.cache_data(max_entries=128, show_spinner=False)
def flow_answer(run_id: str, start: int, end: int, split: str) -> dict[str, Any]:
    """Returns the flow between two epochs, as the API has it (an epoch's table never changes)."""
    answer: dict[str, Any] = client().report(run_id, "flow", split=split, **{"from": start, "to": end})
    return answer


def _classes(run: Run, shown: EpochFinished, split: Split) -> None:
    title = f"By class: mean gap and accuracies, epoch {shown.epoch}"
    try:
        table = class_table(run.id, shown.epoch, split)
    except GapscopeError as error:
        st.markdown(f"###### {title}", anchors=False)
        st.caption(f"The table of classes cannot be had just now: {words.plain(error.detail)}")
        return
    caption = Caption(run_title(run), shown.epoch, words.SPLITS[split], int(table["samples"].sum()))
    note = None
    if len(table) > classes.MAX_CLASSES:
        note = f"The {classes.MAX_CLASSES} classes with the widest mean gaps, of {len(table):,}."
    chart.draw(
        classes.class_gaps(table),
        key="chart_classes",
        title=title,
        caption=caption,
        hint="Bar: mean gap. Marks: accuracy of audio and of visual on the class.",
        level=6,
        note=note,
    )


@st.cache_data(max_entries=128, show_spinner=False)
def class_table(run_id: str, epoch: int, split: str) -> pd.DataFrame:
    """Returns the per-class table of an epoch, as the API has it (an epoch's table never changes)."""
    return classes.class_table(client().report(run_id, "classes", epoch=epoch, split=split))
