"""The rows of a batch as they are written, a JSON line each; a torn last line is cut and that clip scored again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Self

from worker.contract.errors import CorruptRecordError
from worker.contract.score_batches import BatchRow

Key = tuple[str, str]


class RowFile:
    """The rows of one batch, read at the start and appended to; one process has it open (it holds the lock)."""

    def __init__(self, path: Path) -> None:
        """Reads what is there.

        Args:
            path: BatchFolder.rows; made where it is missing.

        Raises:
            CorruptRecordError: when a line before the last is damaged.
        """
        self._places: dict[Key, tuple[int, int]] = {}
        self._failed: set[Key] = set()
        self._path = path
        self._file = path.open("a+b")
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._file.truncate(len(whole))
        position = 0
        for number, line in enumerate(whole.splitlines(keepends=True), start=1):
            try:
                self._note(json.loads(line), position, len(line))
            except (ValueError, KeyError) as error:
                self._file.close()
                raise CorruptRecordError(
                    f"{path} is damaged in line {number} ({error}). Ask for a new batch."
                ) from error
            position += len(line)
        self._end = position

    def count(self, wanted: AbstractSet[Key]) -> int:
        """Returns how many of some clips have a row; there may be rows of files that are gone."""
        return len(self._places.keys() & wanted)

    def count_failed(self, wanted: AbstractSet[Key]) -> int:
        """Returns how many of some clips have a row that says why they could not be scored."""
        return len(self._failed & wanted)

    def has(self, sample_id: str, path: str) -> bool:
        """Returns whether there is a row of a clip."""
        return (sample_id, path) in self._places

    def write(self, rows: Iterable[BatchRow]) -> None:
        """Appends rows."""
        for row in rows:
            line = json.dumps(row, allow_nan=False).encode() + b"\n"
            self._file.write(line)
            self._note(row, self._end, len(line))
            self._end += len(line)

    def sync(self) -> None:
        """Makes what was written durable."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def in_order(self, keys: Iterable[Key]) -> Iterator[BatchRow]:
        """Yields the rows of clips in the order of their keys (id, path); those without a row are left out."""
        self.sync()
        with self._path.open("rb") as file:
            for key in keys:
                if key in self._places:
                    position, length = self._places[key]
                    file.seek(position)
                    yield json.loads(file.read(length))

    def _note(self, row: BatchRow, position: int, length: int) -> None:
        key = row["sample_id"], row["path"]
        self._places[key] = (position, length)
        if row["error_code"] is not None:
            self._failed.add(key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
