"""What a child says to its supervisor while it works: one line a step through a pipe, and why it ends.

Both ends live here. Losing a line is harmless; a full pipe never blocks the child.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections import deque

_STEP = b"s"
_REASON = b"r"
MAX_REASON = 1_000


class PulseWriter:
    """The child's end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    def step(self) -> None:
        """Says that the child lives and got on."""
        self._write(_STEP)

    def reason(self, text: str) -> None:
        """Says why the child is about to end."""
        self._write(_REASON + text.replace("\n", " ").encode()[:MAX_REASON])

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._descriptor, line + b"\n")


class PulseReader:
    """The supervisor's end: for how long the child has been silent, and how long it is for a step as a rule."""

    def __init__(self, descriptor: int, now: float) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        self._rest = b""
        self._heard = now
        self._started = False
        self._gaps: deque[float] = deque(maxlen=64)
        self.reason = ""
        """What the child gave as its reason to end."""

    def fileno(self) -> int:
        """Returns the descriptor to select on."""
        return self._descriptor

    def read(self, now: float) -> bool:
        """Takes in what the child wrote; False when its end is closed."""
        try:
            data = os.read(self._descriptor, 65_536)
        except BlockingIOError:
            return True
        if not data:
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        steps = sum(line == _STEP for line in lines)
        for line in lines:
            if line[:1] == _REASON:
                self.reason = line[1:].decode("utf-8", "replace")
        if steps:
            if self._started:  # the time to the first step is that of starting
                self._gaps.extend([(now - self._heard) / steps] * min(steps, 64))
            self._heard, self._started = now, True
        return True

    def silence(self, now: float) -> float:
        """Returns for how long no step was heard of, seconds."""
        return now - self._heard

    def longest_silence(self, least_s: float) -> float:
        """Returns after how long a silence the child counts as hanging: 20 median steps, at least `least_s`."""
        return max(least_s, 20 * statistics.median(self._gaps)) if self._gaps else least_s

    def close(self) -> None:
        """Closes this end."""
        os.close(self._descriptor)
