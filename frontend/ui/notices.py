"""Toasts for what this browser waits for: a run that ended, a dataset that is ready, on whatever page it is by then.

A run or dataset is watched from when its page, or a list that shows it at work, was looked at. Each is asked for only
while it is watched, every few seconds, and a few at most.
"""

from __future__ import annotations

from typing import Final, Literal

import streamlit as st

from frontend.ui import words
from frontend.ui.service import client
from worker.contract.errors import GapscopeError, NotFoundError

Kind = Literal["run", "dataset"]
KEY: Final = "_watched"
TICK_S: Final = 5.0
MAX_WATCHED: Final = 8
ICONS: Final = {**words.STATE_ICONS, "cancelled": ":material/stop_circle:"}


def watch(kind: Kind, job_id: str) -> None:
    """Begins to wait for a run or a dataset that is at work; a toast tells when it has ended."""
    watched: dict[str, str] = st.session_state.setdefault(KEY, {})
    if len(watched) < MAX_WATCHED:
        watched.setdefault(f"{kind} {job_id}", "")


def draw() -> None:
    """Draws nothing but toasts; ticks while something is watched."""
    watched = st.session_state.get(KEY)
    st.fragment(run_every=TICK_S if watched else None, key="notices_tick")(_look)()


def _look() -> None:
    watched: dict[str, str] = st.session_state.get(KEY, {})
    for key in list(watched):
        kind, _, job_id = key.partition(" ")
        try:
            name, state = _now(kind, job_id)
        except NotFoundError:
            watched.pop(key, None)
            continue
        except GapscopeError:  # the page itself says that the API is down
            return
        if state in words.ACTIVE or state == "preparing":
            continue
        watched.pop(key, None)
        st.toast(f"**{words.plain(name)}**  \n{ended_words(kind, state)}", icon=ICONS.get(state), duration="long")


def _now(kind: str, job_id: str) -> tuple[str, str]:
    if kind == "dataset":
        return job_id, client().dataset(job_id).state
    run = client().run(job_id)
    return run.name, run.state


def ended_words(kind: str, state: str) -> str:
    """Returns what a toast says of a run or dataset that ended, such as "The run is finished."."""
    return f"The {kind} is {'ready' if state == 'ready' else words.state_words(state).lower()}."
