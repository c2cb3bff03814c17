"""One array file of a store, read row by row at their places.

Positional reads, not a memory map: a batch of random rows touches each page once, and a map reads ahead around every
one of them (megabytes on cloud disks); a file that shrinks under a map ends the process. See docs/decisions/0006.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class RowFile:
    """An open file of R rows of one shape and type. Several threads and processes may read at once."""

    def __init__(self, path: Path, num_rows: int, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        """Opens the file.

        Args:
            path: the file.
            num_rows: R.
            shape: of a row.
            dtype: of its values.

        Raises:
            OSError: there is no such file.
            ValueError: it is shorter than R rows.
        """
        self._shape = shape
        self._dtype = dtype
        self._row_bytes = int(np.prod(shape)) * dtype.itemsize
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        size = os.fstat(self._descriptor).st_size
        if size < num_rows * self._row_bytes:
            raise ValueError(f"{path.name}: expected {num_rows * self._row_bytes:,} bytes, got {size:,}")
        if hasattr(os, "posix_fadvise"):  # not on macOS
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """Returns copies of some rows: (B,) indices -> (B, *shape).

        Raises:
            OSError: the file was cut off since it was opened.
        """
        taken: NDArray[np.generic] = np.empty((len(rows), *self._shape), self._dtype)
        view = taken.reshape(-1).view(np.uint8).data
        for place, row in enumerate(rows.tolist()):
            self._fill(view[place * self._row_bytes : (place + 1) * self._row_bytes], row * self._row_bytes)
        return taken

    def _fill(self, view: memoryview, position: int) -> None:
        while len(view):
            count = os.preadv(self._descriptor, [view], position)
            if count == 0:
                raise OSError(f"{self._path} ends at {position:,}: it was cut off. Prepare the dataset anew.")
            view, position = view[count:], position + count
