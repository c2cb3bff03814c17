"""Page: runs side by side at one epoch: curves, gap distributions, seeds, settings, and clip by clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import streamlit as st

from frontend.ui import comparing, words
from frontend.ui.charts import compare as charts
from frontend.ui.charts.saving import Caption
from frontend.ui.comparing import Side
from frontend.ui.links import link
from frontend.ui.panels import chart, pairs
from frontend.ui.panels.epoch_controls import SPLIT_CHOICES
from frontend.ui.panels.header import run_title, told
from frontend.ui.service import client
from worker.contract.errors import NotFoundError
from worker.contract.resources import Run

MOST: Final = 50
CHOOSE: Final = 200
MEASURES: Final = {
    "fused": "Fused accuracy",
    "gap": "Mean |gap|",
    "audio": "Audio accuracy",
    "visual": "Visual accuracy",
}


def page() -> None:
    """Draws the page."""
    told()
    st.title("Compare", anchor=False)
    if not client().runs(limit=1).items and not st.query_params.get("runs"):
        _empty()
        return
    ids = _chosen()
    if len(ids) < 2:
        st.info(
            "Choose two runs or more, here or by ticks on the Runs page. Seeds of one method are drawn as their mean "
            "with its spread; two runs on the same clips are compared clip by clip.",
            icon=":material/info:",
        )
        return
    split, epoch = _asked_split(), _asked_epoch()
    found = client().compare(ids, split=split, epoch=epoch)
    if epoch is not None and found["newest"] is not None and epoch > found["newest"]:
        found = client().compare(ids, split=split, epoch=found["newest"])
    sides = [Side(document, found["split"], found["epoch"]) for document in found["runs"]]
    if found["missing"]:
        st.warning(
            f"Not found, deleted perhaps: {words.plain(comparing.listed(found['missing']))}.", icon=":material/delete:"
        )
    if len(sides) < 2:
        return
    if found["epoch"] is None:
        st.info("None of these runs has finished an epoch yet.", icon=":material/hourglass_empty:")
    names = comparing.names_of([side.run for side in sides])
    _lineage(sides, names)
    if found["epoch"] is not None:
        _controls(found)
        for remark in comparing.remarks(sides, found["epoch"], split, names):
            st.caption(f":material/info: {words.plain(remark)}")
        _charts(sides, found, names)
        _figures(sides, names, found)
    _differences(found["differing"], names)
    if found["epoch"] is not None:
        pairs.draw(sides, names, split, found["epoch"])


def _empty() -> None:
    with st.container(border=True, key="compare_empty"):
        st.subheader("No runs to compare yet", anchor=False)
        st.markdown(
            "Two runs or more stand side by side here: curves, distributions of the score gap, settings that differ, "
            "and what changed clip by clip. The demo on the page Runs trains two."
        )
        link("runs", "To the demo", icon=":material/list_alt:")


def _chosen() -> list[str]:
    """Draws the choice of runs, kept in the address, and returns their ids."""
    asked = list(dict.fromkeys(one for one in st.query_params.get("runs", "").split(",") if one))[:MOST]
    find, pick = st.columns([1, 3.4], vertical_alignment="bottom", gap="medium")
    text = find.text_input("Find runs", key="compare_find", placeholder="Name, tag, method", icon=":material/search:")
    known = {run.id: run for run in client().runs(limit=CHOOSE, sort="-created_at", text=text.strip() or None).items}
    for run_id in asked:
        if run_id not in known and (run := _run(run_id)) is not None:
            known[run_id] = run
    titles = {run_id: label for run_id, label in zip(known, _labels(list(known.values())), strict=True)}
    st.session_state["compare_runs"] = asked
    ids = pick.multiselect(
        "Runs",
        [*known, *(one for one in asked if one not in known)],
        key="compare_runs",
        max_selections=MOST,
        format_func=lambda one: titles.get(one, f"{one} (deleted)"),
        placeholder="Choose runs",
        on_change=_keep_runs,
    )
    return list(ids)


def _run(run_id: str) -> Run | None:
    try:
        return client().run(run_id)
    except NotFoundError:
        return None


def _labels(runs: list[Run]) -> list[str]:
    titles = [run_title(run) for run in runs]
    return [
        title if titles.count(title) == 1 else f"{title} · seed {run.spec.seed} · {run.id[-6:]}"
        for title, run in zip(titles, runs, strict=True)
    ]


def _keep_runs() -> None:
    ids = st.session_state["compare_runs"]
    if ids:
        st.query_params["runs"] = ",".join(ids)
    else:
        st.query_params.pop("runs", None)


def _asked_split() -> str:
    asked = st.query_params.get("split", "validation")
    return asked if asked in SPLIT_CHOICES.values() else "validation"


def _asked_epoch() -> int | None:
    asked = st.query_params.get("epoch", "")
    return min(max(int(asked), 1), 10_000) if asked.isascii() and asked.isdigit() and len(asked) < 6 else None


def _controls(found: Mapping[str, Any]) -> None:
    slider, split, seeds = st.columns([4, 2.4, 2.4], vertical_alignment="bottom", gap="medium")
    if found["newest"] > 1:
        st.session_state["compare_epoch"] = found["epoch"]
        with slider:
            st.slider(
                "Epoch of every run",
                1,
                found["newest"],
                key="compare_epoch",
                on_change=_keep,
                args=("epoch",),
                help=f"All of these runs have epoch {found['newest_shared']} and those before it.",
            )
    titles = {name: title for title, name in SPLIT_CHOICES.items()}
    st.session_state["compare_split"] = found["split"]
    with split:
        st.segmented_control(
            "Split",
            list(titles),
            key="compare_split",
            format_func=lambda one: titles[one],
            required=True,
            on_change=_keep,
            args=("split",),
        )
    if any(len(spread["runs"]) > 1 for spread in found["spreads"]):
        st.session_state["compare_each"] = st.query_params.get("each") == "1"
        seeds.toggle(
            "Each seed by itself",
            key="compare_each",
            on_change=_keep_each,
            help="Off: runs that differ only in their seed are drawn as their mean, with a band of one sample standard "
            "deviation.",
        )


def _keep(name: str) -> None:
    st.query_params[name] = str(st.session_state[f"compare_{name}"])


def _keep_each() -> None:
    if st.session_state["compare_each"]:
        st.query_params["each"] = "1"
    else:
        st.query_params.pop("each", None)


def _charts(sides: Sequence[Side], found: Mapping[str, Any], names: Mapping[str, str]) -> None:
    together = st.query_params.get("each") != "1"
    lines = comparing.group_names(sides, found["spreads"], names) if together else dict(names)
    series = comparing.series_of(sides, lines)
    order = list(dict.fromkeys(series.values()))
    caption = caption_of(sides, found, names)
    longest = max(side.run.progress.epochs for side in sides)
    if found["split"] == "test" and not any(side.curve for side in sides):
        st.caption("Test clips are looked at once, at the end of a run: there are no curves of them.")
    columns = [*st.columns(2, gap="medium"), *st.columns(2, gap="medium")]
    for column, (measure, title) in zip(columns, MEASURES.items(), strict=True):
        table = comparing.curve_table(sides, measure, lines, series)
        if table.empty and found["split"] == "test":
            continue  # looked at once, at the end: the table below has the figures
        with column.container(border=True, key=f"compare_{measure}"):
            chart.draw(
                charts.curves(table, measure, longest, order, found["epoch"]),
                key=f"chart_compare_{measure}",
                title=f"{title}, {words.SPLITS[found['split']]} split",
                caption=caption,
                note="No values: these runs have no such figure on this split." if table.empty else None,
            )
    gaps = comparing.gap_table(sides, lines, series)
    with st.container(border=True, key="compare_gaps"):
        chart.draw(
            charts.gap_curves(gaps, order),
            key="chart_compare_gaps",
            title=f"{words.GAP_TITLE} at epoch {found['epoch']}",
            caption=caption,
            hint=words.GAP_HELP,
            note="None of these runs has gaps here: they need both modalities." if gaps.empty else None,
        )


def caption_of(sides: Sequence[Side], found: Mapping[str, Any], names: Mapping[str, str]) -> Caption:
    """Returns what the page's charts show."""
    sizes = {side.at.num_samples for side in sides if side.at}
    return Caption(
        run=comparing.listed([names[side.run.id] for side in sides], 4),
        epoch=found["epoch"],
        split=words.SPLITS[found["split"]],
        num_samples=sizes.pop() if len(sizes) == 1 else None,
        rule="all samples of each run",
    )


def _lineage(sides: Sequence[Side], names: Mapping[str, str]) -> None:
    for derived, origin in comparing.lineage(sides):
        text = f"{words.plain(names[derived])} builds on {words.plain(names[origin])}"
        link("run", text, icon=":material/account_tree:", run=derived)


def _figures(sides: Sequence[Side], names: Mapping[str, str], found: Mapping[str, Any]) -> None:
    number = st.column_config.NumberColumn
    with st.container(border=True, key="compare_figures"):
        st.markdown(f"##### Epoch {found['epoch']}, {words.SPLITS[found['split']]} split", anchors=False)
        st.dataframe(
            comparing.figures(sides, names).drop(columns="id"),
            hide_index=True,
            placeholder=words.NONE,
            key="compare_table",
            column_config={
                "run": "Run",
                "state": "State",
                "method": "Method",
                "seed": "Seed",
                "epochs": "Epochs",
                "clips": "Clips",
                "mean_gap": number("Mean gap", format="%+.3f"),
                "gap": number("Mean |gap|", format="%.3f"),
                **{one: number(title, format="%.1f %%") for one, title in words.MODALITIES.items()},
            },
        )
        st.caption("|gap| is what some methods minimise, so a small one alone does not show that a method is better.")
        spreads = comparing.spread_table(found["spreads"], comparing.group_names(sides, found["spreads"], names))
        if spreads.empty:
            return
        st.markdown("###### Over seeds: mean ± sample standard deviation [95 % t interval, from 3 runs]", anchors=False)
        st.dataframe(
            spreads,
            hide_index=True,
            key="compare_spreads",
            column_config={"group": "Runs that differ only in their seed", "seeds": "Seeds", **words.MODALITIES},
        )


def _differences(differing: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> None:
    with st.container(border=True, key="compare_settings"):
        st.markdown("##### Settings that differ", anchors=False)
        table = comparing.differences(differing, names)
        if table.empty:
            st.caption("None: these runs have the same settings.")
            return
        st.dataframe(
            table,
            hide_index=True,
            placeholder=words.NONE,
            key="compare_differences",
            column_config={"setting": "Setting"},
        )
