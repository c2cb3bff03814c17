"""Panel: a page of clips as posters, each with what fused, audio and visual say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import streamlit as st

from frontend.ui import words
from frontend.ui.components.elements import Card, Verdict, clip_grid
from frontend.ui.service import browser_address, client
from worker.contract.resources import DatasetSample
from worker.contract.scores import SampleRow

TABLE: Final = "Table"
POSTERS: Final = "Posters"


def chosen_view() -> str:
    """Draws the choice between table and posters, which stands in the address, and returns it."""
    return st.segmented_control(
        "Show clips as",
        [TABLE, POSTERS],
        default=TABLE,
        required=True,
        key="samples_view",
        bind="query-params",
        label_visibility="collapsed",
    )


def verdicts(row: SampleRow) -> tuple[Verdict, ...]:
    """Returns what each modality says of a clip: right, wrong, or nothing where the run lacks it."""
    return tuple(
        Verdict(title, None if (said := getattr(row.predicted, name)) is None else said == row.label)
        for name, title in words.MODALITIES.items()
    )


def cards(rows: Sequence[SampleRow], clips: Mapping[str, DatasetSample]) -> list[Card]:
    """Returns rows of a run as cards.

    Args:
        rows: of one epoch.
        clips: id -> clip of the dataset, with the addresses of its media; those that are gone are missing.
    """
    made = []
    for row in rows:
        media = clips[row.sample_id].media if row.sample_id in clips else {}
        video, poster = media.get("video"), media.get("poster")
        made.append(
            Card(
                row.sample_id,
                row.label,
                "no gap" if row.gap is None else f"gap {words.signed(row.gap)}",
                browser_address(video) if video else None,
                browser_address(poster) if poster else None,
                verdicts(row),
            )
        )
    return made


def draw(dataset_id: str, rows: Sequence[SampleRow]) -> None:
    """Draws the grid; a click puts the clip into the address.

    Args:
        dataset_id: of the run.
        rows: of the shown page, at most 50.
    """
    found = client().dataset_samples(dataset_id, ids=[row.sample_id for row in rows], limit=len(rows))
    chosen = st.query_params.get("sample")
    clicked = clip_grid(cards(rows, {clip.sample_id: clip for clip in found.items}), chosen, key="sample_grid")
    if clicked and clicked != chosen:
        st.query_params["sample"] = clicked
        st.rerun()
