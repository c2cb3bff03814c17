"""The history of each run, shared by all browsers of this process: each event is fetched once, from a cursor."""

from __future__ import annotations

import threading
import time
from typing import Final, Protocol

import streamlit as st

from frontend.ui.history import History
from worker.contract.events import Event

PAGE: Final = 500
LEAST_AGE_S: Final = 0.4


class EventSource(Protocol):
    """Where events come from: the API's client, or a recording."""

    def events(self, run_id: str, after: int = 0, limit: int = PAGE) -> list[Event]:
        """Returns the events of a run after `after`, at most `limit`."""


class Feed:
    """One run's history and the way to its newest event."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.history = History()
        self._lock = threading.Lock()
        self._asked_at = float("-inf")

    def advance(self, source: EventSource) -> History:
        """Fetches what is new and returns the history; browsers that ask at the same moment share one request.

        Args:
            source: the API.
        """
        with self._lock:
            if time.monotonic() - self._asked_at < LEAST_AGE_S:
                return self.history
            try:
                self._fetch(source)
            except ValueError:  # the record on the server is another one now: read it anew
                self.history = History()
                self._fetch(source)
            self._asked_at = time.monotonic()
        return self.history

    def _fetch(self, source: EventSource) -> None:
        while True:
            events = source.events(self.run_id, after=self.history.cursor, limit=PAGE)
            self.history.fold(events)
            if len(events) < PAGE:
                return


@st.cache_resource(max_entries=64, show_spinner=False)
def feed_of(run_id: str) -> Feed:
    """Returns the process's feed of a run."""
    return Feed(run_id)
