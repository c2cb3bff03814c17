"""How often a live page asks: less often when many browsers look, so that all stay a few seconds behind at most."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Final

import streamlit as st

FASTEST_S: Final = 1.0
SLOWEST_S: Final = 3.0
FREE: Final = 4
"""Browsers that are served at the fastest pace."""
PER_VIEWER_S: Final = 0.15
PRESENT_S: Final = 30.0


class Viewers:
    """Who drew a live page lately; a browser that is gone is forgotten after PRESENT_S."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def count(self, viewer: str, now: float) -> int:
        """Notes that somebody looks, and returns how many do.

        Args:
            viewer: one browser page.
            now: seconds of a monotonic clock.
        """
        with self._lock:
            self._seen[viewer] = now
            self._seen = {name: at for name, at in self._seen.items() if now - at < PRESENT_S}
            return len(self._seen)


def pace_s(num_viewers: int) -> float:
    """Returns seconds between two ticks of a page."""
    return min(SLOWEST_S, FASTEST_S + PER_VIEWER_S * max(0, num_viewers - FREE))


@st.cache_resource(show_spinner=False)
def _viewers() -> Viewers:
    return Viewers()


def tick_s() -> float:
    """Returns seconds between the ticks of this browser's page."""
    name = st.session_state.setdefault("_viewer", uuid.uuid4().hex)
    return pace_s(_viewers().count(str(name), time.monotonic()))
