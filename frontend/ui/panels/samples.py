"""The Samples tab: filters, the histogram to brush, a table by pages, and one clip in detail."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import streamlit as st

from frontend.ui import history as folding
from frontend.ui import words
from frontend.ui.charts import gaps, palette
from frontend.ui.charts.saving import Caption
from frontend.ui.feed import feed_of
from frontend.ui.history import History, Split
from frontend.ui.paging import Pager
from frontend.ui.panels import (
    chart,
    epoch_controls,
    sample,
    sample_filters,
    sample_grid,
    sample_map,
    subset,
    subsets,
    tagging,
)
from frontend.ui.panels.header import before_first_epoch, run_title
from frontend.ui.service import client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run
from worker.contract.scores import SampleRow

PAGE_SIZE: Final = 25
CLIP_CHARACTERS: Final = 15
"""Of a clip's name in the table, its end: long names differ there, and the open clip has all of it."""
PIN: Final = "samples_pin"


def draw(run: Run) -> None:
    """Draws the Samples tab."""
    history = feed_of(run.id).advance(client())
    if not history.epochs:
        before_first_epoch(run, "Samples")
        return
    refusal = st.session_state.pop("told_error", None)
    if refusal is not None:
        show_error(refusal)
    epoch = pinned_epoch(run.id, history.newest)
    filters = _filters(run, history, epoch)
    if run.samples_kept_every > 1:
        st.caption(
            f"To save space the samples of older epochs are kept of every {run.samples_kept_every}th one, of the "
            "chosen and of the newest."
        )
    left, right = st.columns([1.5, 1], gap="medium")
    with left:
        _brush(run, history, filters["epoch"], filters["split"])
        sample_filters.right_or_wrong(run.id, filters)
        sample_map.draw(run, filters)
        with st.container(horizontal=True):
            subset.draw(run, filters)
            tagging.draw(run, dataset_of(run), filters, st.query_params.get("sample"))
        _page(run, filters)
        subsets.draw(run, dataset_of(run))
    with right, st.container(border=True, key="sample_detail"):
        sample.draw(run, history, st.query_params.get("sample"), filters["epoch"])


def pinned_epoch(run_id: str, newest: int) -> int:
    """Returns the epoch of this tab: the one chosen on the page, else the one that was newest when the tab opened.

    Clips must not change under the reader's eyes, so this tab does not follow.
    """
    epoch = epoch_controls.shown_epoch(run_id, newest)
    if not st.session_state["live_follow"]:
        st.session_state.pop(PIN, None)
        return epoch
    run, pinned = st.session_state.setdefault(PIN, (run_id, epoch))
    if run != run_id:
        st.session_state[PIN] = (run_id, epoch)
        return epoch
    return min(int(pinned), newest)


def unpin() -> None:
    """Lets the tab begin at the newest epoch again."""
    st.session_state.pop(PIN, None)


def _filters(run: Run, history: History, epoch: int) -> dict[str, Any]:
    """Draws the filters and returns the API's parameters."""
    classes = history.started.classes if history.started else []
    first = st.columns([0.8, 1, 1.5, 1.8, 1.5], vertical_alignment="bottom")
    key = st.session_state["samples_epoch_key"] = f"samples_epoch_{epoch}"
    first[0].number_input(
        "Epoch", 1, history.newest, epoch, key=key, on_change=_epoch_typed, args=(key, history.newest)
    )
    return sample_filters.draw(dataset_of(run), classes, history.newest, epoch, first[1:])


def dataset_of(run: Run) -> str:
    """Returns the id of a run's dataset, whose clips tags belong to; nothing before it is known."""
    return run.resolved_spec.dataset_id if run.resolved_spec else str(getattr(run.spec.dataset, "id", ""))


def _epoch_typed(key: str, newest: int) -> None:
    if key == st.session_state.get("samples_epoch_key"):  # not a field that was just replaced
        unpin()
        epoch_controls.choose(int(st.session_state[key]), newest)


def brushed(state: Any) -> tuple[float, float] | None:
    """Returns the range of gaps that a brush holds, from the chart's selection; None where it is empty."""
    selection = (state or {}).get("selection", {}).get(gaps.BRUSH, {})
    values = next(iter(selection.values()), None) if selection else None
    if not values:
        return None
    return max(-1.0, round(float(min(values)), 3)), min(1.0, round(float(max(values)), 3))


def _brush_key(epoch: int, split: Split) -> str:
    return f"brush_{epoch}_{split}_{st.session_state.get('brush_round', 0)}"


def _on_brush(key: str) -> None:
    found = brushed(st.session_state.get(key))
    for name, value in zip(("gap_min", "gap_max"), found or (None, None), strict=True):
        if value is None:
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = f"{value:g}"


def _clear_brush() -> None:
    st.session_state["brush_round"] = st.session_state.get("brush_round", 0) + 1
    st.query_params.pop("gap_min", None)
    st.query_params.pop("gap_max", None)


def _brush(run: Run, history: History, epoch: int, split: Split) -> None:
    """Draws the histogram; a dragged range goes into the address, from where the table reads it."""
    shown = history.at(epoch)
    report = folding.split_report(shown, split) if shown else None
    if report is None or report.histogram is None:
        return
    with st.container(border=True, key="panel_brush"):
        low, high = sample_filters.number("gap_min"), sample_filters.number("gap_max")
        with st.container(horizontal=True, vertical_alignment="center"):
            if low is None and high is None:
                st.caption("Drag over the histogram to see only the clips of that range of gaps.")
            else:
                span = f"{words.signed(-1.0 if low is None else low)} to {words.signed(1.0 if high is None else high)}"
                st.markdown(f"**Gap {span}**", width="content")
                st.button("All gaps", key="clear_brush", icon=":material/close:", on_click=_clear_brush)
        key = _brush_key(epoch, split)
        chart.draw(
            gaps.gap_histogram(report, report.mixture, brush=True).properties(height=250),
            key=key,
            title=words.GAP_TITLE,
            caption=Caption(run_title(run), epoch, words.SPLITS[split], report.num_samples),
            hint=words.GAP_HELP,
            level=6,
            on_select=lambda: _on_brush(key),
            selection_mode=gaps.BRUSH,
        )


def sample_table(rows: list[SampleRow]) -> pd.DataFrame:
    """Returns what the table shows: percentages 0..100, and what the fused prediction says."""
    made = [
        {
            "sample": words.ending(row.sample_id, CLIP_CHARACTERS),
            "label": row.label,
            "gap": row.gap,
            "posterior": percentage(row.posterior_imbalanced),
            "audio": percentage(row.p_true.audio),
            "visual": percentage(row.p_true.visual),
            "fused": percentage(row.p_true.fused),
            "tags": ", ".join(row.tags) or None,
            "change": None if row.gap is None or row.gap_before is None else row.gap - row.gap_before,
            "says": ("✓ " if row.predicted.fused == row.label else "✗ ") + (row.predicted.fused or words.NONE),
        }
        for row in rows
    ]
    table = pd.DataFrame(made)
    return (
        table.astype(dict.fromkeys(("gap", "posterior", "audio", "visual", "fused", "change"), float))
        if made
        else table
    )


def shown_columns(rows: list[SampleRow], since: bool) -> list[str]:
    """Returns the columns of the table: tags where a clip has any, the change where one is asked for."""
    named = ["sample", "label", "gap", *(["change"] if since else []), "posterior", "audio", "visual", "fused", "says"]
    return [*named, *(["tags"] if any(row.tags for row in rows) else [])]


def percentage(value: float | None) -> float | None:
    """Returns a fraction as 0..100."""
    return None if value is None else 100 * value


def _page(run: Run, filters: dict[str, Any]) -> None:
    """Draws one page of samples; choosing a row opens the clip beside it."""
    pager = Pager("samples", {"run": run.id, **filters})
    try:
        found = client().sample_rows(run.id, **filters, limit=PAGE_SIZE, cursor=pager.cursor)
    except GapscopeError as error:
        show_error(error)
        return
    if not found.items:
        st.info("No clip matches these filters.", icon=":material/filter_alt_off:")
        return
    st.session_state[sample.SHOWN] = [row.sample_id for row in found.items]
    if found.total is not None:
        st.caption(f"{words.count(found.total, 'clip')} with these filters.")
    if sample_grid.chosen_view() == sample_grid.POSTERS:
        sample_grid.draw(dataset_of(run), found.items)
    else:
        key = "samples_table_" + str(abs(hash((repr(filters), pager.cursor))))
        _table(found.items, key, since=filters["since"] is not None)
    if "sample" not in st.query_params:
        st.query_params["sample"] = found.items[0].sample_id
    pager.draw(found.next)


def _table(rows: list[SampleRow], key: str, *, since: bool) -> None:
    st.dataframe(
        sample_table(rows),
        key=key,
        hide_index=True,
        placeholder=words.NONE,
        on_select=lambda: _on_row(key, [row.sample_id for row in rows]),
        selection_mode="single-row",
        height=420,
        column_config=_columns(),
        column_order=shown_columns(rows, since),
    )


def _on_row(key: str, sample_ids: list[str]) -> None:
    rows = st.session_state[key]["selection"]["rows"]
    if rows:
        st.query_params["sample"] = sample_ids[rows[0]]


def _columns() -> dict[str, Any]:
    column = st.column_config
    bar: dict[str, Any] = {"min_value": 0, "max_value": 100, "format": "%.1f %%", "width": 84}
    return {
        "sample": column.TextColumn("Clip", width=92),
        "label": column.TextColumn("True class", width=78),
        "gap": column.NumberColumn("Score gap", format="%+.2f", help=words.GAP_HELP, width=76),
        "posterior": column.NumberColumn(
            "Dominant", format="%.1f %%", help=f"{words.POSTERIOR_TITLE}. {words.POSTERIOR_HELP}", width=80
        ),
        "audio": column.ProgressColumn("Audio", help="Score of the true class by audio.", color=palette.AUDIO, **bar),
        "visual": column.ProgressColumn(
            "Visual", help="Score of the true class by visual.", color=palette.VISUAL, **bar
        ),
        "fused": column.ProgressColumn(
            "Fused", help="Score of the true class by the fused prediction.", color=palette.FUSED, **bar
        ),
        "tags": column.TextColumn("Tags", width=90, help="Given by people; the same in every run on the dataset."),
        "change": column.NumberColumn("Change", format="%+.2f", help="Of the gap since that epoch.", width=76),
        "says": column.TextColumn("Fused says", width=84),
    }
