"""The Configuration tab: what was asked for, and what the run really uses."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import streamlit as st

from frontend.ui import words
from frontend.ui.links import link
from worker.contract.resources import Run


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Returns a nested document as (dotted path, text) in its own order; what is empty shows a dash."""
    if isinstance(value, dict) and value:
        return [
            row for key, inner in value.items() for row in flatten(inner, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list | tuple):
        return [(prefix, ", ".join(str(item) for item in value) or words.NONE)]
    if value is None or value == {}:
        return [(prefix, words.NONE)]
    return [(prefix, {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value))]


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """Returns what was asked for, by part of the spec: setting and value."""
    spec = run.spec.model_dump(mode="json")
    parts = {name: spec.pop(name) for name in ("dataset", "encoder", "fusion", "objective", "optimizer", "schedule")}
    titles = {"objective": "Method", "optimizer": "Optimizer", "schedule": "Schedule", "dataset": "Dataset"}
    made = {"Training": pd.DataFrame(flatten(spec), columns=["setting", "value"])}
    for name in ("objective", "dataset", "encoder", "fusion", "optimizer", "schedule"):
        made[titles.get(name, name.capitalize())] = pd.DataFrame(flatten(parts[name]), columns=["setting", "value"])
    return made


def draw(run: Run) -> None:
    """Draws links to the earlier runs that it builds on, its settings as tables, and the spec to copy."""
    for name, run_id in run.spec.objective.source_runs().items():
        link("run", f"{name.replace('_', ' ').capitalize()}: {run_id}", icon=":material/account_tree:", run=run_id)
    left, right = st.columns(2, gap="medium")
    for position, (title, table) in enumerate(tables(run).items()):
        with (left, right)[position % 2].container(border=True):
            st.markdown(f"##### {title}")
            st.table(table, border="horizontal", hide_index=True, hide_header=True)
    with right.container(border=True):
        st.markdown("##### What the run really uses")
        if run.resolved_spec is None:
            st.caption("Fixed when a worker takes the run up for the first time.")
        else:
            resolved = pd.DataFrame(flatten(run.resolved_spec.model_dump(mode="json")), columns=["setting", "value"])
            st.table(resolved, border="horizontal", hide_index=True, hide_header=True)
    with st.expander("The spec as JSON, to copy or launch by script", icon=":material/data_object:"):
        st.code(json.dumps(run.spec.model_dump(mode="json"), indent=2), language="json")
