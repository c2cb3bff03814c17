"""The browser elements as Python functions. Files go between browser and API, never through this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import streamlit as st

from frontend.ui.charts import palette
from worker.contract.errors import Problem

FOLDER: Final = Path(__file__).parent
CLIPS: Final = "video/*,audio/*,.mp4,.webm,.mov,.mkv,.avi,.flv,.wav"


@dataclass(frozen=True)
class Card:
    """One clip of a grid."""

    id: str
    title: str
    subtitle: str
    video: str | None
    poster: str | None = None
    """Address of a small picture; without one the video's first frame stands there."""
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What one modality says of a clip: right, wrong, or nothing."""

    name: str
    is_right: bool | None


@dataclass(frozen=True)
class Upload:
    """What uploads came to in this script run: the newest score's id, or the refused files; mostly neither."""

    score_id: str | None = None
    refused: list[tuple[str, Problem]] = field(default_factory=list)


def _nothing() -> None:
    """Makes a trigger known to Streamlit; the value is read from the element's result."""


def _text(name: str) -> str:
    # A text without a line break would be taken for a file name.
    return (FOLDER / name).read_text(encoding="utf-8") + "\n"


@st.cache_resource(show_spinner=False)
def _upload_element() -> Any:
    return st.components.v2.component(
        "gapscope_upload", html=_text("upload.html"), css=_text("upload.css"), js=_text("upload.js")
    )


@st.cache_resource(show_spinner=False)
def _grid_element() -> Any:
    return st.components.v2.component(
        "gapscope_grid", html='<div class="grid"></div>\n', css=_text("grid.css"), js=_text("grid.js")
    )


def upload(url: str, run_id: str, label: str | None, *, key: str, disabled: bool = False) -> Upload:
    """Draws the upload of clips and returns what came of it in this script run.

    Args:
        url: address of POST /scores as the browser sees it.
        run_id: whose model scores the clip.
        label: its true class, if known.
        key: of the element.
        disabled: nothing can be sent now.
    """
    data = {"url": url, "run_id": run_id, "label": label or "", "accept": CLIPS, "disabled": disabled}
    result = _upload_element()(key=key, data=data, on_uploaded_change=_nothing, on_ended_change=_nothing)
    ended = result.ended or {"id": None, "refused": []}
    refused = [(str(one["filename"]), Problem.model_validate(one["problem"])) for one in ended["refused"]]
    newest = ended["id"] or result.uploaded
    return Upload(score_id=str(newest) if newest else None, refused=refused)


def clip_grid(cards: Sequence[Card], chosen: str | None, *, key: str) -> str | None:
    """Draws clips as a grid and returns the one that was clicked in this script run.

    Args:
        cards: the clips.
        chosen: id of the marked one.
        key: of the element.
    """
    data = {"items": [asdict(card) for card in cards], "chosen": chosen, "wrong": palette.WRONG}
    result = _grid_element()(key=key, data=data, on_chosen_change=_nothing)
    return str(result.chosen) if result.chosen else None
