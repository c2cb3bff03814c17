"""Panel: the clips of a dataset by pages and filters; the chosen one plays, with its measures and its runs."""

from __future__ import annotations

from typing import Final

import pandas as pd
import streamlit as st

from frontend.ui import links, media, quality, words
from frontend.ui.components.elements import Card, clip_grid
from frontend.ui.paging import Pager
from frontend.ui.service import browser_address, client
from worker.contract.resources import Dataset, DatasetSample

GRID: Final = 24
SHOWN_RUNS: Final = 5


def draw(item: Dataset) -> None:
    """Draws the panel.

    Args:
        item: a dataset that is ready.
    """
    filters = _filters(item)
    pager = Pager("clips", {"dataset": item.id, **filters})
    found = client().dataset_samples(item.id, **filters, limit=GRID, cursor=pager.cursor)
    chosen = st.query_params.get("clip", "")
    grid, detail = st.columns([2.2, 1], gap="medium")
    with grid:
        if not found.items:
            st.info("No clip passes these filters.", icon=":material/filter_alt_off:")
        else:
            clicked = clip_grid([card_of(sample) for sample in found.items], chosen or None, key="clip_grid")
            if clicked and clicked != chosen:
                st.query_params["clip"] = clicked
                st.rerun()
            pager.draw(found.next)
    sample = _chosen(item.id, chosen, found.items)
    if sample is not None:
        with detail.container(border=True, key="clip_detail"):
            _detail(item, sample)


def _filters(item: Dataset) -> dict[str, str | None]:
    """Draws the filters, which stand in the address, and returns them."""
    label_cell, split_cell, fault_cell, _ = st.columns([1.2, 1, 1.2, 1.2])
    splits = [name for name in words.SPLITS if name in item.splits]
    counts = {flag.flag: flag.num_clips for flag in item.quality.flags} if item.quality else {}
    label = label_cell.selectbox(
        "Class", item.classes or [], index=None, placeholder="Any", key="clips_label", bind="query-params"
    )
    split = split_cell.selectbox(
        "Split",
        splits,
        index=None,
        placeholder="Any",
        key="clips_split",
        bind="query-params",
        format_func=lambda one: f"{words.SPLITS[one].capitalize()} ({item.splits[one]:,})",
    )
    flag = fault_cell.selectbox(
        "Fault",
        list(counts),
        index=None,
        placeholder="Any",
        key="clips_flag",
        bind="query-params",
        format_func=lambda one: f"{quality.FAULTS.get(one, one)} ({counts[one]:,})",
    )
    return {"label": label, "split": split, "flag": flag}


def card_of(sample: DatasetSample) -> Card:
    """Returns a clip as the grid shows it."""
    video = sample.media.get("video")
    length = f"{sample.duration_s:.1f} s" if sample.duration_s is not None else ""
    faults = [title for title, _ in quality.faults(sample.quality)]
    parts = (words.SPLITS.get(sample.split, sample.split), length, *faults)
    poster = sample.media.get("poster")
    return Card(
        sample.sample_id,
        sample.label,
        " · ".join(filter(None, parts)),
        browser_address(video) if video else None,
        browser_address(poster) if poster else None,
    )


def _chosen(dataset_id: str, chosen: str, shown: list[DatasetSample]) -> DatasetSample | None:
    """Returns the clip that the address names, on whatever page it stands; else the first that is shown."""
    here = next((sample for sample in shown if sample.sample_id == chosen), None)
    if here is None and chosen:
        here = next(iter(client().dataset_samples(dataset_id, ids=[chosen]).items), None)
    return here or next(iter(shown), None)


def _detail(item: Dataset, sample: DatasetSample) -> None:
    st.markdown(f"##### {words.plain(sample.sample_id)}", anchors=False)
    media.player(sample.media)
    st.markdown(f"Class **{words.plain(sample.label)}**, {words.SPLITS.get(sample.split, sample.split)} split")
    for title, value in quality.faults(sample.quality):
        st.badge(f"{title}: {value}", icon=":material/warning:", color="orange")
    for name, value in sample.notes.items():
        st.caption(f"{words.plain(name.replace('_', ' '))}: {words.plain(value)}")
    rows = quality.facts(sample.quality)
    st.table(pd.DataFrame(rows, columns=["measure", "value"]), border="horizontal", hide_index=True, hide_header=True)
    _runs(item, sample)


def _runs(item: Dataset, sample: DatasetSample) -> None:
    """Draws the newest runs on the dataset, each opened at this clip."""
    if not item.num_runs:
        st.caption("No run has used it yet.")
        return
    st.caption(f"Used by {words.count(item.num_runs, 'run')}. What they say of this clip:")
    for run in client().runs(dataset=item.id, limit=SHOWN_RUNS).items:
        links.link(
            "run",
            words.plain(run.name),
            icon=":material/show_chart:",
            run=run.id,
            tab="Samples",
            sample=sample.sample_id,
        )
    if item.num_runs > SHOWN_RUNS:
        st.caption(f"and {item.num_runs - SHOWN_RUNS:,} more")
