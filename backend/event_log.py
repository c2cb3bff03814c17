"""A run's events for readers: from the stream where it has what follows, else from the archive.

The archive has everything and needs no Redis; the stream has the newest events sooner where the home is a network
file system.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import cast

import redis
from redis.exceptions import RedisError

from worker.contract import keys
from worker.contract.events import EpochFinished, Event, RunStarted, parse_event
from worker.contract.journal import EventReader
from worker.contract.layout import Home

OPEN_READERS = 64
PAGE = 500
FEW = 3


class EventLog:
    """The events of all runs of one home."""

    def __init__(self, home: Home, client: redis.Redis) -> None:
        self._home = home
        self._client = client
        self._readers: OrderedDict[str, EventReader] = OrderedDict()
        self._lock = threading.Lock()

    def lines_after(self, run_id: str, seq: int, limit: int) -> list[bytes]:
        """Returns up to `limit` events numbered above `seq`, in order, each as JSON."""
        lines = self._from_stream(run_id, seq, limit)
        return lines or self._from_archive(run_id, seq, limit)

    def epochs(self, run_id: str) -> list[EpochFinished]:
        """Returns all finished epochs of a run, in order."""
        events: list[Event] = []
        while lines := self._from_archive(run_id, len(events), PAGE):
            events += [parse_event(line) for line in lines]
        return [event for event in events if isinstance(event, EpochFinished)]

    def epoch(self, run_id: str, epoch: int) -> EpochFinished | None:
        """Returns the event of one finished epoch, or None when there is none."""
        seq = epoch - 1  # an epoch's event comes after those of all epochs before it, and seldom much later
        while lines := self._from_archive(run_id, seq, FEW):
            for event in map(parse_event, lines):
                if isinstance(event, EpochFinished) and event.epoch >= epoch:
                    return event if event.epoch == epoch else None
            seq += len(lines)
        return None

    def classes(self, run_id: str) -> list[str]:
        """Returns the class names of a run, by its first event; none before it has started."""
        lines = self._from_archive(run_id, 0, 1)
        first = parse_event(lines[0]) if lines else None
        return first.classes if isinstance(first, RunStarted) else []

    def _from_stream(self, run_id: str, seq: int, limit: int) -> list[bytes]:
        try:
            found = self._client.xrange(keys.events(run_id), min=f"({seq}-0", max="+", count=limit)
        except RedisError:
            return []
        entries = cast("list[tuple[str, dict[str, str]]]", found)
        if not entries or entries[0][0] != f"{seq + 1}-0":
            return []
        return [fields["event"].encode() for _, fields in entries]

    def _from_archive(self, run_id: str, seq: int, limit: int) -> list[bytes]:
        with self._lock:
            return self._reader(run_id).read_lines(seq, limit)

    def count(self, run_id: str) -> int:
        """Returns the number of events in a run's archive."""
        with self._lock:
            return len(self._reader(run_id))

    def _reader(self, run_id: str) -> EventReader:
        reader = self._readers.pop(run_id, None) or EventReader(self._home.run(run_id).events)
        self._readers[run_id] = reader
        if len(self._readers) > OPEN_READERS:
            self._readers.popitem(last=False)
        return reader
