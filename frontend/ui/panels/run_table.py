"""The table of runs: what it says of each, with the curves of accuracy and gap as small lines."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import streamlit as st

from frontend.ui import links, words
from frontend.ui.charts import palette
from frontend.ui.panels.header import dataset_words, run_title
from frontend.ui.service import catalog
from worker.contract.events import SplitReport
from worker.contract.resources import Run

ROW_PIXELS: Final = 38
NAME_PIXELS: Final = 240
"""Width of the names: a long one would push the figures out of a narrow window."""


def state_cell(run: Run) -> str:
    """Returns what a run is doing and, where it runs, how long it will still take."""
    state = words.state_words(run.state)
    if run.state == "running" and run.progress.eta_s is not None:
        return f"{state}, {words.duration(run.progress.eta_s)} left"
    if run.state == "queued" and run.queue_position:
        return f"{state}, number {run.queue_position}"
    return state


def row_of(run: Run) -> dict[str, Any]:
    """Returns what the table shows of a run."""
    progress, summary, series = run.progress, run.summary, run.series
    return {
        "open": "Open",
        "name": run_title(run),
        "state": state_cell(run),
        "epochs": f"{progress.epoch} / {progress.epochs}",
        "progress": 100 * progress.fraction,
        "method": run.spec.objective.kind,
        "dataset": dataset_words(run),
        "fused": _percentage(summary, "fused"),
        "fused_curve": [value for value in series.accuracy_fused if value is not None] if series else None,
        **{name: _percentage(summary, name) for name in ("audio", "visual")},
        "gap": None if summary is None else summary.mean_abs_gap,
        "gap_curve": ([value for value in series.mean_abs_gap if value is not None] or None) if series else None,
        "tags": list(run.tags),
        "created": words.ago(run.created_at),
        "notes": " ".join(run.notes.split()),
    }


def _percentage(summary: SplitReport | None, modality: str) -> float | None:
    value = None if summary is None else getattr(summary.accuracy, modality)
    return None if value is None else 100 * value


def table_of(runs: list[Run], titles: dict[str, str]) -> pd.DataFrame:
    """Returns the table; columns that would say nothing of any run are left out.

    Args:
        runs: of this page.
        titles: method -> its title.
    """
    table = pd.DataFrame([row_of(run) for run in runs])
    table["method"] = [titles.get(kind, kind) for kind in table["method"]]
    idle = [] if any(run.state in words.ACTIVE for run in runs) else ["progress"]
    empty = [name for name in ("tags", "notes") if not any(table[name])]
    return table.drop(columns=[*idle, *empty])


def draw(runs: list[Run]) -> list[Run]:
    """Draws the table and returns the ticked runs; a press on Open opens a run."""
    titles = {kind: entry["title"] for kind, entry in catalog()["objectives"].items()}
    event = st.dataframe(
        table_of(runs, titles),
        key="runs_table_" + str(abs(hash(tuple(run.id for run in runs)))),
        hide_index=True,
        placeholder=words.NONE,
        on_select="rerun",
        selection_mode="multi-row",
        row_height=ROW_PIXELS,
        height=ROW_PIXELS * (len(runs) + 1) + 3,
        column_config=_columns(),
        alt=f"Table of {words.count(len(runs), 'run')} with state, progress, accuracy and mean gap.",
    )
    clicked = st.session_state.get("runs_open")
    if clicked is not None and clicked["row"] < len(runs):
        links.go("run", run=runs[clicked["row"]].id)
    return [runs[row] for row in event.selection.rows if row < len(runs)]


def _columns() -> dict[str, Any]:
    column = st.column_config
    return {
        "open": column.ButtonColumn("", key="runs_open", type="tertiary", width=54),
        "name": column.TextColumn("Name", width=NAME_PIXELS),
        "state": column.TextColumn("State"),
        "epochs": column.TextColumn("Epochs", help="Finished epochs of those planned.", width=76),
        "progress": column.ProgressColumn("Progress", min_value=0, max_value=100, format="%.0f %%", width=92),
        "method": column.TextColumn("Method"),
        "dataset": column.TextColumn("Dataset"),
        "fused": column.NumberColumn("Fused", format="%.1f %%", help="Accuracy on validation, newest epoch.", width=70),
        "fused_curve": column.LineChartColumn(
            "over epochs", y_min=0, y_max=1, color=palette.FUSED, width=86, help="Fused accuracy, from 0 to 100 %."
        ),
        **{
            name: column.NumberColumn(title, format="%.1f %%", help=f"Accuracy by {name}, newest epoch.", width=70)
            for name, title in (("audio", "Audio"), ("visual", "Visual"))
        },
        "gap": column.NumberColumn("Mean |gap|", format="%.2f", help=words.GAP_HELP, width=88),
        "gap_curve": column.LineChartColumn(
            "over epochs", y_min=0, y_max=1, color="gray", width=86, help="Mean |gap| on validation, from 0 to 1."
        ),
        "tags": column.ListColumn("Tags", width=150),
        "created": column.TextColumn("Created", width=96),
        "notes": column.TextColumn("Notes", width=220),
    }
