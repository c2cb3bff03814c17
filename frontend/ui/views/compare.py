"""Page: runs side by side. Their curves, the settings that differ, their newest figures."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import streamlit as st

from frontend.ui import words
from frontend.ui.charts import compare as charts
from frontend.ui.feed import feed_of
from frontend.ui.history import History
from frontend.ui.panels.configuration import flatten
from frontend.ui.panels.header import run_title
from frontend.ui.service import client
from worker.contract.resources import Run

MOST: Final = 8
CHOOSE: Final = 100


def page() -> None:
    """Draws the page."""
    st.title("Compare", anchor=False)
    runs = _chosen()
    if len(runs) < 2:
        st.info(
            "Choose two runs or more; runs with at least one finished epoch can be compared.", icon=":material/info:"
        )
        return
    histories = {run.id: feed_of(run.id).advance(client()) for run in runs}
    names = names_of(runs)
    sources = {history.epochs[-1].validation.unimodal_source for history in histories.values() if history.epochs}
    if len(sources) > 1:
        st.warning(
            "Audio and visual accuracies and the gaps are read in different ways in these runs ("
            + ", ".join(words.SOURCES[source] for source in sorted(sources))
            + "): compare the fused accuracy.",
            icon=":material/info:",
        )
    curves = curve_table({names[run.id]: histories[run.id] for run in runs})
    longest = max(run.progress.epochs for run in runs)
    grid = (
        ("fused", "Fused accuracy"),
        ("gap", "Mean |gap|"),
        ("audio", "Audio accuracy"),
        ("visual", "Visual accuracy"),
    )
    columns = [*st.columns(2, gap="medium"), *st.columns(2, gap="medium")]
    for column, (measure, title) in zip(columns, grid, strict=True):
        with column.container(border=True, key=f"compare_{measure}"):
            st.markdown(f"##### {title}, validation split")
            chart = charts.curves(curves, measure, longest, list(names.values()))
            st.altair_chart(chart, key=f"chart_compare_{measure}", width="stretch")
    _figures(runs, names)
    _differences(runs, names)


def _chosen() -> list[Run]:
    """Draws the choice of runs, kept in the address, and returns them."""
    known = {run.id: run for run in client().runs(limit=CHOOSE, sort="-created_at").items if run.summary is not None}
    asked = [run_id for run_id in st.query_params.get("runs", "").split(",") if run_id]
    for run_id in asked:
        if run_id not in known:
            known[run_id] = client().run(run_id)
    if "compare_runs" not in st.session_state or st.session_state.get("compare_asked") != asked:
        st.session_state["compare_runs"] = asked[:MOST]
    ids = st.multiselect(
        "Runs",
        list(known),
        key="compare_runs",
        max_selections=MOST,
        format_func=lambda one: run_title(known[one]),
        placeholder="Choose runs",
    )
    st.session_state["compare_asked"] = ids
    if ids:
        st.query_params["runs"] = ",".join(ids)
    else:
        st.query_params.pop("runs", None)
    return [known[run_id] for run_id in ids]


def names_of(runs: list[Run]) -> dict[str, str]:
    """Returns a name for each run by id; equal names are told apart by number."""
    names: dict[str, str] = {}
    for run in runs:
        title, number = run_title(run), 2
        while title in names.values():
            title, number = f"{run_title(run)} ({number})", number + 1
        names[run.id] = title
    return names


def curve_table(histories: dict[str, History]) -> pd.DataFrame:
    """Returns run, epoch, measure (fused, audio, visual, gap) and value of several runs, on validation."""
    rows = [
        (name, event.epoch, measure, value)
        for name, history in histories.items()
        for event in history.thinned()
        for measure, value in (
            *((one, getattr(event.validation.accuracy, one)) for one in words.MODALITIES),
            ("gap", event.validation.mean_abs_gap),
        )
        if value is not None
    ]
    return pd.DataFrame(rows, columns=["run", "epoch", "measure", "value"])


def differences(runs: list[Run]) -> dict[str, dict[str, str]]:
    """Returns setting -> run id -> value for the settings in which the specs differ; name and tags apart."""
    settings = {run.id: dict(flatten(run.spec.model_dump(mode="json", exclude={"name", "tags"}))) for run in runs}
    every = list(dict.fromkeys(name for values in settings.values() for name in values))
    table = {name: {run_id: values.get(name, words.NONE) for run_id, values in settings.items()} for name in every}
    return {name: values for name, values in table.items() if len(set(values.values())) > 1}


def _figures(runs: list[Run], names: dict[str, str]) -> None:
    rows: list[dict[str, Any]] = []
    for run in runs:
        summary = run.summary
        rows.append(
            {
                "run": names[run.id],
                "epoch": f"{run.progress.epoch} of {run.progress.epochs}",
                **{
                    one: 100 * value if summary and (value := getattr(summary.accuracy, one)) is not None else None
                    for one in words.MODALITIES
                },
                "gap": summary.mean_abs_gap if summary else None,
                "clips": summary.num_samples if summary else None,
            }
        )
    number = st.column_config.NumberColumn
    with st.container(border=True, key="compare_figures"):
        st.markdown("##### Newest epoch, validation split")
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            placeholder=words.NONE,
            key="compare_table",
            column_config={
                "run": "Run",
                "epoch": "Epoch",
                "clips": "Clips",
                "gap": number("Mean |gap|", format="%.3f"),
                **{one: number(title, format="%.1f %%") for one, title in words.MODALITIES.items()},
            },
        )
        st.caption("|gap| is what some methods minimise, so a small one alone does not show that a method is better.")


def _differences(runs: list[Run], names: dict[str, str]) -> None:
    with st.container(border=True, key="compare_settings"):
        st.markdown("##### Settings that differ")
        table = differences(runs)
        if not table:
            st.caption("None: these runs have the same settings.")
            return
        rows = [
            {"setting": name, **{names[run_id]: value for run_id, value in values.items()}}
            for name, values in table.items()
        ]
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            placeholder=words.NONE,
            key="compare_differences",
            column_config={"setting": "Setting"},
        )
