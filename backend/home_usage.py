"""What a home holds, in bytes by part, and room for more: new work is refused before it would hold more than it may."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final

from worker.contract.errors import HomeFullError
from worker.contract.layout import Home
from worker.contract.settings import MIB, Settings

LEAST_PAUSE_S: Final = 60.0
COST_SHARE: Final = 0.05
"""Of the time, at most, is spent on measuring: a large home is measured less often."""
NEARLY: Final = 0.95
LOOK_AGAIN_S: Final = 2.0
"""A home that was full this long ago is measured again before it is said to be full."""


@dataclass(frozen=True)
class Usage:
    """Bytes that the home takes on its disk, by part; a file of n names counts an nth under each."""

    parts: dict[str, int]
    total: int


@dataclass
class _Promise:
    num_bytes: int
    since: float
    held: bool = True


class HomeUsage:
    """Measures the home and keeps account of what was promised since. Safe to share between threads."""

    def __init__(self, home: Home, settings: Settings) -> None:
        self._home = home
        self._limit = settings.max_home_bytes
        self._usage: Usage | None = None
        self._expected: Callable[[], int] = lambda: 0
        self._to_come = 0
        self._measured = float("-inf")
        self._cost_s = 0.0
        self._promises: list[_Promise] = []
        self._stopping = threading.Event()
        self._measuring = threading.Lock()
        self._counting = threading.Lock()

    def usage(self) -> Usage:
        """Returns what was measured last; measures where nothing was yet."""
        if self._usage is None:
            self.measure(older_than_s=LOOK_AGAIN_S)
        return self._usage or Usage({}, 0)

    def expects(self, expected: Callable[[], int]) -> None:
        """Counts what accepted work will still write as held, too.

        Args:
            expected: returns those bytes; asked with each measurement.
        """
        self._expected = expected

    def measure_if_due(self) -> None:
        """Measures when it is time to."""
        self.measure(older_than_s=max(LEAST_PAUSE_S, self._cost_s / COST_SHARE))

    def measure(self, *, older_than_s: float = 0.0) -> None:
        """Measures the home; what was promised and written before counts as measured from now on.

        Args:
            older_than_s: does nothing where the last measurement is younger, such as another thread's just now.
        """
        with self._measuring:
            start = time.monotonic()
            if start - self._measured < older_than_s:
                return
            parts: dict[str, int] = {}
            with os.scandir(self._home.path) as entries:
                for entry in entries:
                    parts[entry.name] = disk_bytes(Path(entry.path), self._stopping)
            if self._stopping.is_set():
                return
            to_come = 0 if self._limit is None else self._expected()
            now = time.monotonic()
            with self._counting:
                self._to_come = to_come
                self._usage = Usage(parts, sum(parts.values()))
                self._promises = [one for one in self._promises if one.held or one.since >= start]
                self._measured, self._cost_s = now, now - start

    def is_short(self) -> bool:
        """Returns whether little is left of what the home may hold: what can be spared goes early then."""
        with self._counting:
            return self._limit is not None and self._used() >= NEARLY * self._limit

    def stop(self) -> None:
        """Ends a measurement that is going on: nobody waits for it when the server stops."""
        self._stopping.set()

    @contextmanager
    def promised(self, num_bytes: int) -> Iterator[None]:
        """Sets room aside until the block ends; what was written in it then counts until it is measured.

        Of two at once that would only fit one by one, the second is refused.

        Raises:
            HomeFullError: code `home-full`, when there is no such room.
        """
        promise = self._take(num_bytes)
        try:
            yield
        except BaseException:
            self._drop(promise)
            raise
        if promise is not None:
            promise.since, promise.held = time.monotonic(), False

    def require(self, num_bytes: int = 0) -> None:
        """Passes when there is room for so many bytes, and sets none aside.

        Raises:
            HomeFullError: code `home-full`.
        """
        self._drop(self._take(num_bytes))

    def _take(self, num_bytes: int) -> _Promise | None:
        if self._limit is None:
            return None
        self.usage()
        promise = self._try(num_bytes)
        if promise is None:  # something was deleted, perhaps
            self.measure(older_than_s=max(LOOK_AGAIN_S, self._cost_s / COST_SHARE))
            promise = self._try(num_bytes)
        if promise is None:
            raise self._full(num_bytes)
        return promise

    def _try(self, num_bytes: int) -> _Promise | None:
        with self._counting:
            assert self._limit is not None
            if self._used() + max(num_bytes, 1) > self._limit:
                return None
            promise = _Promise(num_bytes, time.monotonic())
            self._promises.append(promise)
            return promise

    def _drop(self, promise: _Promise | None) -> None:
        if promise is not None:
            with self._counting:
                self._promises = [one for one in self._promises if one is not promise]

    def _used(self) -> int:
        measured = self._usage.total if self._usage else 0
        return measured + self._to_come + sum(promise.num_bytes for promise in self._promises)

    def _full(self, num_bytes: int) -> HomeFullError:
        limit = self._limit or 0
        needs = f" and this needs about {num_bytes // MIB + 1:,} MiB more" if num_bytes else ""
        return HomeFullError(
            f"The home holds {self._used() // MIB:,} of the {limit // MIB:,} MiB that it may, with what accepted work "
            f"will write{needs}. Empty the trash, delete runs, datasets or scores, or raise GAPSCOPE_MAX_HOME_BYTES."
        )


def disk_bytes(path: Path, stopping: threading.Event | None = None) -> int:
    """Returns the disk space that a file, or all files under a folder, take; what vanishes meanwhile counts nothing.

    Args:
        path: of the file or folder.
        stopping: ends the count early.
    """
    try:
        status = path.lstat()
    except OSError:
        return 0
    if not S_ISDIR(status.st_mode):
        return status.st_blocks * 512 // max(1, status.st_nlink) if S_ISREG(status.st_mode) else 0
    total, folders = 0, [str(path)]
    while folders and not (stopping and stopping.is_set()):
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                        continue
                    status = entry.stat(follow_symlinks=False)
                    total += status.st_blocks * 512 // max(1, status.st_nlink)
        except OSError:
            continue
    return total
