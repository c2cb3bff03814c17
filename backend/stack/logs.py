"""The log files of the stack's processes: opened for appending, rotated by copying, read from the end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MAX_LOG_BYTES = 20 * 1024 * 1024


def open_for_appending(path: Path) -> int:
    """Returns a descriptor that appends to a log; O_APPEND keeps it right when the file is cut under the writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def rotate(path: Path, max_bytes: int = MAX_LOG_BYTES) -> bool:
    """Moves what a log holds into `<name>.1` once it is over `max_bytes`; returns whether it did.

    The writer keeps its descriptor, so the content is copied and the file cut; lines written in between are lost.
    """
    try:
        if path.stat().st_size <= max_bytes:
            return False
        older = path.with_name(f"{path.name}.1")
        older.touch(0o600)
        older.chmod(0o600)
        shutil.copyfile(path, older)
        os.truncate(path, 0)
    except OSError:  # a full disk must not stop the stack; the next turn tries again
        return False
    return True


def tail(path: Path, num_lines: int = 12) -> list[str]:
    """Returns the last lines of a log, without empty ones."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line.rstrip() for line in lines if line.strip()][-num_lines:]
