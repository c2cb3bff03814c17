"""The Confusion tab: which classes are taken for which, by fused, audio and visual prediction."""

from __future__ import annotations

from typing import Any, Final

import streamlit as st

from frontend.ui import words
from frontend.ui.charts.confusion import confusion_chart, confusion_table, most_mistaken
from frontend.ui.charts.saving import Caption
from frontend.ui.feed import feed_of
from frontend.ui.panels import chart, epoch_controls
from frontend.ui.panels.header import before_first_epoch, run_title
from frontend.ui.service import client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run

MOST_PAIRS: Final = 10
NAME_PIXELS: Final = 95
"""Width of a class in the table of pairs: long names leave room for the numbers."""


def draw(run: Run) -> None:
    """Draws the tab."""
    history = feed_of(run.id).advance(client())
    if not history.epochs:
        before_first_epoch(run, "Matrices")
        return
    epoch = epoch_controls.shown_epoch(run.id, history.newest)
    split, _ = epoch_controls.draw(run.progress.epochs, history, epoch, with_mixture=False)
    known = history.epochs[-1].train.accuracy
    modalities = [name for name in words.MODALITIES if getattr(known, name) is not None]
    columns = st.columns(len(modalities), gap="medium")
    for column, modality in zip(columns, modalities, strict=True):
        with column.container(border=True, height="stretch", key=f"confusion_{modality}"):
            try:
                answer = confusion_answer(run.id, epoch, split, modality)
            except GapscopeError as error:
                show_error(error)
                continue
            _matrix(run, answer, words.MODALITIES[modality])


@st.cache_data(max_entries=64, show_spinner=False)
def confusion_answer(run_id: str, epoch: int, split: str, modality: str) -> dict[str, Any]:
    """Returns a matrix as the API has it (an epoch's table never changes)."""
    answer: dict[str, Any] = client().report(run_id, "confusion", epoch=epoch, split=split, modality=modality)
    return answer


def _matrix(run: Run, answer: dict[str, Any], title: str) -> None:
    table = confusion_table(answer)
    kept = most_mistaken(table)
    shown = table[table["truth"].isin(kept) & table["prediction"].isin(kept)]
    num_classes = len(answer["classes"])
    rule = "" if len(kept) == num_classes else f"the {len(kept)} most mistaken of {num_classes:,} classes"
    right = int(table.loc[table["truth"] == table["prediction"], "clips"].sum())
    caption = Caption(run_title(run), answer["epoch"], words.SPLITS[answer["split"]], answer["num_samples"], rule)
    chart.draw(
        confusion_chart(shown, title),
        key=f"chart_confusion_{title}",
        title=title,
        caption=caption,
        note=f"Right: {words.share(right, answer['num_samples'])}." + (f" Shown: {rule}." if rule else ""),
    )
    wrong = table[(table["truth"] != table["prediction"]) & (table["clips"] > 0)]
    worst = wrong.sort_values(["clips", "truth"], ascending=[False, True]).head(MOST_PAIRS)
    if len(worst):
        st.dataframe(
            worst[["truth", "prediction", "clips", "share"]].assign(share=100 * worst["share"]),
            hide_index=True,
            key=f"confusion_pairs_{title}",
            column_config={
                "truth": st.column_config.TextColumn("True class", width=NAME_PIXELS),
                "prediction": st.column_config.TextColumn("Taken for", width=NAME_PIXELS),
                "clips": st.column_config.NumberColumn("Clips", width=60),
                "share": st.column_config.NumberColumn("Of the class", format="%.1f %%", width=90),
            },
        )
