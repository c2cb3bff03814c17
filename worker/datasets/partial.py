"""A store in the making: arrays filled row by row in any order, and a journal of the clips that are finished.

A clip is finished when its line stands in the journal; the line is written after the pages of its arrays are on the
disk. After a kill, at any moment, the journal says what need not be done again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from worker.contract.layout import write_atomically
from worker.datasets.store import FRAMES_FILE, audio_file

JOURNAL_FILE = "journal.jsonl"
PLAN_FILE = "plan.json"
_TAIL_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of one clip: usable (code ""), or skipped with a code and a reason."""

    row: int
    code: str = ""
    reason: str = ""
    duration_s: float = 0.0
    start_s: float = 0.0
    padded: bool = False
    width: int | None = None
    height: int | None = None
    frames_per_s: float | None = None
    sample_rate_hz: int | None = None
    decoding: str = ""
    """Remarks of the decoder."""
    quality: Sequence[float | None] = ()
    """In the order of worker.contract.quality.METRICS."""
    content_hash: str | None = None


@dataclass(frozen=True)
class Shapes:
    """Shapes of the arrays, R rows."""

    num_rows: int
    frames: tuple[int, ...]
    audio: tuple[int, ...]
    audio_dtype: np.dtype[np.generic]


class PartialStore:
    """The folder in which a store is made."""

    def __init__(self, path: Path, plan: str, shapes: Shapes) -> None:
        """Goes on in the folder if it was begun by the same plan, else begins it anew.

        Args:
            path: the folder.
            plan: digests of spec and listing: another plan, another store.
            shapes: of the arrays.
        """
        self.path = path
        self._shapes = shapes
        if not _begun_by(path, plan):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            write_atomically(path / PLAN_FILE, plan.encode())
        self._frames = _sized(path / FRAMES_FILE, shapes.num_rows, _row_bytes(shapes.frames, np.dtype(np.uint8)))
        self._audio = _sized(
            path / audio_file(shapes.audio_dtype), shapes.num_rows, _row_bytes(shapes.audio, shapes.audio_dtype)
        )
        _cut_torn_line(path / JOURNAL_FILE)
        self._lines = os.open(path / JOURNAL_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._pending: list[Finished] = []

    def write(self, row: int, frames: NDArray[np.uint8], audio: NDArray[np.generic]) -> None:
        """Writes the arrays of one clip into their places."""
        for descriptor, array in ((self._frames, frames), (self._audio, audio)):
            view = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            done = 0
            while done < len(view):
                done += os.pwrite(descriptor, view[done:], row * len(view) + done)

    def finish(self, finished: Finished) -> None:
        """Notes that a clip is done; durable after the next `commit`."""
        self._pending.append(finished)

    def commit(self) -> None:
        """Makes all finished clips durable: first the arrays, then the journal's lines."""
        if not self._pending:
            return
        self._sync_arrays()
        lines = "".join(json.dumps(asdict(item), separators=(",", ":")) + "\n" for item in self._pending).encode()
        while lines:
            lines = lines[os.write(self._lines, lines) :]
        os.fdatasync(self._lines)
        self._pending.clear()

    @property
    def journal(self) -> Path:
        """The file of finished clips, one a line (see worker.datasets.results)."""
        return self.path / JOURNAL_FILE

    def close(self) -> None:
        """Closes the files; what is not committed is lost."""
        for descriptor in (self._frames, self._audio, self._lines):
            os.close(descriptor)

    def _sync_arrays(self) -> None:
        os.fdatasync(self._frames)
        os.fdatasync(self._audio)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _begun_by(path: Path, plan: str) -> bool:
    try:
        return (path / PLAN_FILE).read_text() == plan
    except OSError:
        return False


def _row_bytes(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> int:
    return int(np.prod(shape)) * dtype.itemsize


def _sized(path: Path, num_rows: int, row_bytes: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(descriptor, num_rows * row_bytes)
    return descriptor


def _cut_torn_line(path: Path) -> None:
    """Removes the end of a journal after its last complete line: a kill may have torn it."""
    try:
        with path.open("r+b") as file:
            position = file.seek(0, os.SEEK_END)
            while position:
                begin = max(0, position - _TAIL_BYTES)
                file.seek(begin)
                found = file.read(position - begin).rfind(b"\n")
                position = begin
                if found >= 0:
                    position = begin + found + 1
                    break
            file.truncate(position)
    except FileNotFoundError:
        return
