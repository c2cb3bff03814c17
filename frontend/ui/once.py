"""Guards what must not happen twice: Streamlit may count one press of a button twice when a tick interrupts its run."""

from __future__ import annotations

import time
from typing import Final

import streamlit as st

KEY: Final = "_pressed"
WITHIN_S: Final = 3.0


def first_press(name: str) -> bool:
    """Returns whether this is a press of its own, and not the echo of one a moment ago.

    Args:
        name: of the action and what it is done to.
    """
    pressed: dict[str, float] = st.session_state.setdefault(KEY, {})
    now = time.monotonic()
    if now - pressed.get(name, float("-inf")) < WITHIN_S:
        return False
    pressed[name] = now
    return True
