"""The playhead as a Python function: a line over charts of a clip that follows its player, all within the browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import streamlit as st

FOLDER: Final = Path(__file__).parent
MOST_CHARTS: Final = 2
"""Lines that the element has."""


@dataclass(frozen=True)
class TimeChart:
    """A chart whose x axis is the seconds of a clip: key of its container, and the ends of the axis."""

    key: str
    start_s: float
    end_s: float


@st.cache_resource(show_spinner=False)
def _element() -> Any:
    html, css, script = ((FOLDER / f"playhead.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return st.components.v2.component("gapscope_playhead", html=html, css=css, js=script)


def playhead(player: str, charts: Sequence[TimeChart], *, key: str) -> None:
    """Draws the line; to be called below the charts.

    Args:
        player: key of the container of the player.
        charts: the first takes the keyboard; at most MOST_CHARTS.
        key: of the element.
    """
    _element()(key=key, data={"player": player, "charts": [asdict(chart) for chart in charts[:MOST_CHARTS]]})
