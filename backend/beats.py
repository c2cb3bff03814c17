"""Which beats stand still: the reaper's own clock, which neither a clock step nor a Redis outage can fool."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from worker.contract.keys import JobKind
from worker.contract.record import JobRecord

MAX_STEP_S = 2.0
"""Longest time that one look may add: a longer pause (an outage, a suspended machine) says nothing of the holder."""
LOST_SHARE = 0.5
"""Share of the time to reaping after which a job is shown as lost."""


@dataclass
class _Still:
    token: int
    beat: int
    seconds: float = 0.0


class BeatWatch:
    """Counts, over successful reads alone, for how long each running job's beat has stood still."""

    def __init__(self, stale_beat_s: float) -> None:
        self._limit = stale_beat_s
        self._still: dict[tuple[JobKind, str], _Still] = {}
        self._last_look: float | None = None

    def look(self, records: Iterable[JobRecord], now: float) -> list[JobRecord]:
        """Takes in what was just read of all active jobs; returns those whose beat stood still for too long.

        Args:
            records: all active jobs of all kinds.
            now: the monotonic clock.
        """
        step = 0.0 if self._last_look is None else min(max(now - self._last_look, 0.0), MAX_STEP_S)
        self._last_look = now
        seen: dict[tuple[JobKind, str], _Still] = {}
        stale = []
        for record in records:
            if record.state not in ("running", "cancelling"):
                continue
            known = self._still.get((record.kind, record.id))
            if known is None or (known.token, known.beat) != (record.token, record.beat):
                known = _Still(record.token, record.beat)
            else:
                known.seconds += step
            seen[(record.kind, record.id)] = known
            if known.seconds >= self._limit:
                stale.append(record)
        self._still = seen
        return stale

    def is_lost(self, record: JobRecord) -> bool:
        """Returns whether a running job is to be shown as lost: its beat has stood still for half the limit."""
        known = self._still.get((record.kind, record.id))
        if record.state != "running" or known is None or (known.token, known.beat) != (record.token, record.beat):
            return False
        return known.seconds >= self._limit * LOST_SHARE
