"""What became of the clips of a preparation, read back from its journal: a few bytes of memory a clip, not its line."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.datasets.partial import Finished


class JournalResults(Mapping[int, Finished]):
    """row -> Finished, for the rows that stood in the journal when it was opened; the last line of a row counts."""

    def __init__(self, path: Path, num_rows: int) -> None:
        """Reads where each row's line lies.

        Args:
            path: the journal, without a torn line.
            num_rows: R, of the store.
        """
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self._begins: NDArray[np.int64] = np.full(num_rows, -1, np.int64)
        self._lengths: NDArray[np.int32] = np.zeros(num_rows, np.int32)
        skipped: NDArray[np.bool_] = np.zeros(num_rows, bool)
        position = 0
        with path.open("rb") as file:
            for line in file:
                fields = json.loads(line)
                row = fields["row"]
                self._begins[row], self._lengths[row], skipped[row] = position, len(line), bool(fields["code"])
                position += len(line)
        self.num_skipped = int(skipped.sum())
        """Rows whose clip was left out."""

    def missing(self) -> Iterator[int]:
        """Yields the rows that are not finished, ascending."""
        return (int(row) for row in np.flatnonzero(self._begins < 0))

    def __getitem__(self, row: int) -> Finished:
        """Returns what became of a row's clip."""
        if not 0 <= row < len(self._begins) or self._begins[row] < 0:
            raise KeyError(row)
        return Finished(**json.loads(os.pread(self._descriptor, int(self._lengths[row]), int(self._begins[row]))))

    def __len__(self) -> int:
        return int((self._begins >= 0).sum())

    def __iter__(self) -> Iterator[int]:
        return (int(row) for row in np.flatnonzero(self._begins >= 0))
