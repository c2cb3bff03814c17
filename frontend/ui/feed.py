"""The history of each run, shared by all browsers of this process: each event is fetched once, from a cursor."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Final, Protocol

import streamlit as st

from frontend.ui.history import History
from worker.contract.events import Event

PAGE: Final = 500
LEAST_AGE_S: Final = 0.4
MOST_EPOCHS: Final = 4_000
"""Epochs that are kept in all, of 25 KB each."""
IN_USE_S: Final = 60.0
"""A feed that was asked for so lately stays, however many there are: a browser looks at it."""
IDLE_S: Final = 300.0
"""One that nobody asked for so long goes, however few there are: it is fetched again in a moment."""


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
        self.wanted_at = 0.0
        """When a page last wanted it, on the monotonic clock."""

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


class Feeds:
    """The feeds of the runs that were looked at lately: not more epochs in all than memory has room for."""

    def __init__(self) -> None:
        self._feeds: OrderedDict[str, Feed] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, run_id: str) -> Feed:
        """Returns a run's feed; those that nobody asked for lately go, sooner where there are too many epochs."""
        with self._lock:
            feed = self._feeds.pop(run_id, None) or Feed(run_id)
            feed.wanted_at = time.monotonic()
            self._feeds[run_id] = feed
            epochs = sum(len(one.history.epochs) for one in self._feeds.values())
            for other in list(self._feeds.values()):
                idle_s = feed.wanted_at - other.wanted_at
                if idle_s < (IDLE_S if epochs <= MOST_EPOCHS else IN_USE_S) or other is feed:
                    break
                epochs -= len(other.history.epochs)
                del self._feeds[other.run_id]
        return feed

    def __len__(self) -> int:
        """Returns how many runs have a feed."""
        return len(self._feeds)


@st.cache_resource(show_spinner=False)
def _feeds() -> Feeds:
    return Feeds()


def feed_of(run_id: str) -> Feed:
    """Returns the process's feed of a run."""
    return _feeds().of(run_id)
