"""Noticing that the files behind a prepared dataset changed, cheaply and without listing them.

A store keeps the stamps of its folders, of its lists and of a few hundred clips, taken when they were listed. A file
added, removed or renamed changes the stamp of its folder; one replaced in place is noticed if it is among the few.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISDIR

from worker.contract.layout import write_atomically

Stamp = tuple[str, int, int]
"""Path, size (0 of a folder), time of change in ns; -1 where there is nothing."""


def stamps_of(paths: Iterable[Path]) -> list[Stamp]:
    """Returns the stamps of files and folders as they are now."""
    return [_stamp(path) for path in paths]


def write_stamps(file: Path, stamps: list[Stamp]) -> None:
    """Writes stamps durably."""
    write_atomically(file, json.dumps(stamps).encode())


def have_changed(file: Path) -> bool | None:
    """Returns whether what the stamps tell of has changed since, or None where there are no stamps."""
    try:
        known = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return any(_stamp(Path(path)) != (path, size, time_ns) for path, size, time_ns in known)


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return (str(path), -1, -1)
    return (str(path), 0 if S_ISDIR(status.st_mode) else status.st_size, status.st_mtime_ns)
