"""The quality of a dataset's clips: faults, content that stands in two splits, the distribution of each measure."""

from __future__ import annotations

from typing import Final

import streamlit as st

from frontend.ui import media, quality, words
from frontend.ui.charts.datasets import metric_histogram
from frontend.ui.charts.saving import Caption
from frontend.ui.panels import chart
from frontend.ui.service import browser_address, client
from worker.contract.resources import Dataset, DatasetQuality, MetricSummary, SameContent

PAIR_WIDTH: Final = 320
OLDER: Final = (
    "This store was made by an older version, which did not measure its clips. Delete the `store` folder of the "
    "dataset and register it again to measure them."
)


def draw(item: Dataset) -> None:
    """Draws the quality of a prepared dataset.

    Args:
        item: as GET /datasets/{id} gives it.
    """
    found = item.quality
    if found is None:
        st.info(OLDER, icon=":material/info:")
        return
    _same_content(item.id, found)
    _one_sided(item)
    st.markdown("##### Faults", anchors=False)
    column = st.column_config
    st.dataframe(
        quality.flag_table(found),
        hide_index=True,
        placeholder=words.NONE,
        key="quality_flags",
        column_config={
            "fault": column.TextColumn("Fault", width=180),
            "clips": column.NumberColumn("Clips", width=70),
            "share": column.NumberColumn("Share", format="%.1f %%", width=80),
            "splits": column.TextColumn("Training / validation / test", width=190),
            "rule": column.TextColumn("Counted when", width="large"),
        },
    )
    st.caption(
        "Clips with a fault are trained on all the same: the tab Clips, and a run's Samples, show them by fault. "
        f"{words.count(found.num_same_content_within, 'clip')} with the content of an earlier clip of the same split."
    )
    st.markdown("##### Measures", anchors=False)
    varied = [summary for summary in found.metrics if summary.maximum > summary.minimum]
    for start in range(0, len(varied), 3):
        for cell, summary in zip(st.columns(3, gap="medium"), varied[start : start + 3], strict=False):
            with cell:
                _metric(item.id, summary)
    for summary in found.metrics:
        if summary not in varied:
            st.markdown(constant_words(summary), help=summary.description)
    address = browser_address(f"/api/v1/datasets/{item.id}/export?format=csv")
    st.link_button("All clips with their measures as CSV", address, icon=":material/download:")


def constant_words(summary: MetricSummary) -> str:
    """Returns what is said of a measure that has one value: there is nothing to draw."""
    value = quality.value_words(summary.metric, summary.minimum)
    return f"**{summary.title}**: {value} for all {words.count(summary.num_clips, 'clip')}."


def _one_sided(item: Dataset) -> None:
    """Says how many clips were left out since they have one track alone."""
    sides = {"media-no-audio": "a picture alone", "media-no-visual": "sound alone"}
    said = [
        f"{words.count(item.left_out[code], 'clip')} with {what}"
        for code, what in sides.items()
        if code in item.left_out
    ]
    if said:
        st.info(
            f"Left out, since a model of both needs both: {' and '.join(said)}.", icon=":material/hearing_disabled:"
        )


def _same_content(dataset_id: str, found: DatasetQuality) -> None:
    if not found.leaks:
        st.success("No content stands in two splits.", icon=":material/check_circle:")
        return
    said = "  \n".join(words.plain(leak.text) for leak in found.leaks)
    st.warning(f"**The same content stands in two splits**  \n{said}", icon=":material/warning:")
    column = st.column_config
    event = st.dataframe(
        quality.pair_table(found),
        hide_index=True,
        key="quality_pairs",
        on_select="rerun",
        selection_mode="single-row",
        height=250 if len(found.same_content) > 6 else "content",
        column_config={
            "clip": column.TextColumn("Clip", width="medium"),
            "split": column.TextColumn("Split", width=100),
            "other": column.TextColumn("Same content as", width="medium"),
            "other_split": column.TextColumn("Of split", width=100),
        },
    )
    total = sum(leak.num_clips for leak in found.leaks)
    if total > len(found.same_content):
        st.caption(
            f"The first {len(found.same_content)} of {total:,}; column content_hash of the exported table has all."
        )
    rows = [row for row in event.selection.rows if row < len(found.same_content)]
    pair = found.same_content[rows[0] if rows else 0]
    _side_by_side(dataset_id, pair)


def _side_by_side(dataset_id: str, pair: SameContent) -> None:
    """Draws the two clips of a pair, each to play."""
    ids = [pair.sample_id, pair.other_sample_id]
    clips = {clip.sample_id: clip for clip in client().dataset_samples(dataset_id, ids=ids).items}
    with st.container(key="leak_pair"):
        for cell, sample_id in zip(st.columns(2, gap="medium"), ids, strict=True):
            clip = clips.get(sample_id)
            if clip is not None:
                with cell:
                    split = words.SPLITS.get(clip.split, clip.split)
                    st.caption(f"{words.plain(sample_id)}: {split}, class {words.plain(clip.label)}")
                    media.player(clip.media, width=PAIR_WIDTH)


def _metric(dataset_id: str, summary: MetricSummary) -> None:
    low, middle, high = (quality.value_words(summary.metric, summary.quantiles[q]) for q in ("0.05", "0.5", "0.95"))
    chart.draw(
        metric_histogram(summary),
        key=f"chart_quality_{summary.metric}",
        title=summary.title,
        hint=summary.description,
        level=6,
        caption=Caption(f"dataset {dataset_id}", num_samples=summary.num_clips, rule="all clips with this measure"),
        note=f"Median {middle}; nine of ten clips from {low} to {high}.",
    )
