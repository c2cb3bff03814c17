"""Token buckets: how many requests one caller may send."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final

MOST_CALLERS: Final = 10_000


class RateLimit:
    """A bucket for each caller; it holds ten seconds' worth and fills up evenly. Safe to share between threads."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts with full buckets.

        Args:
            per_minute: requests that a caller may send in the long run.
            clock: seconds; monotonic.
        """
        self._per_s = per_minute / 60
        self._capacity = max(1.0, per_minute / 6)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def wait_s(self, caller: str) -> float:
        """Takes one token of a caller; returns 0, or the seconds until there is one (then none is taken)."""
        now = self._clock()
        with self._lock:
            level, since = self._buckets.pop(caller, (self._capacity, now))
            level = min(self._capacity, level + (now - since) * self._per_s)
            short = level < 1
            self._buckets[caller] = (level if short else level - 1, now)
            while len(self._buckets) > MOST_CALLERS:
                self._buckets.popitem(last=False)
        return (1 - level) / self._per_s if short else 0.0
