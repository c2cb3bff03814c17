"""Single rows of a Parquet file by their places: only the row groups in which they stand are read.

DuckDB reads the whole file for this: a fifth of a second for 25 rows of a million.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

FOOTERS_KEPT = 32
"""One of a million rows takes about a megabyte."""
GROUPS_KEPT = 32
"""Decoded row groups, of about a megabyte: those of an epoch of 100,000 clips and of their store."""
ROWS_KEPT = 4_096
"""Single rows, of about 2 KB: many look at the same clips, and a page that is drawn anew at the same clip again."""


def rows_at(path: Path, places: Sequence[int], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Returns rows of a file, in the order of `places`.

    Args:
        path: a Parquet file.
        places: rows, counted from 0 over the whole file.
        columns: which columns; all by default.
    """
    if not places:
        return []
    stamp = path.stat().st_mtime_ns
    _, starts = _footer(path, stamp)
    order = np.argsort(places, kind="stable")
    group_of = np.searchsorted(starts, np.asarray(places)[order], "right") - 1
    members = {group: list(one) for group, one in groupby(range(len(order)), key=lambda n: int(group_of[n]))}
    found: list[dict[str, Any]] = [{}] * len(places)
    tables = _groups(path, stamp, list(members), None if columns is None else tuple(columns))
    for (group, inside), table in zip(members.items(), tables, strict=True):
        at = [int(order[n]) for n in inside]
        rows = table.take([places[n] - int(starts[group]) for n in at]).to_pylist()
        for n, row in zip(at, rows, strict=True):
            found[n] = row
    return found


def row_at(path: Path, place: int) -> Mapping[str, Any] | None:
    """Returns one row of a file, or None where it has fewer."""
    return _row(path, path.stat().st_mtime_ns, place)


@lru_cache(maxsize=ROWS_KEPT)
def _row(path: Path, stamp: int, place: int) -> Mapping[str, Any] | None:
    footer, _ = _footer(path, stamp)
    return rows_at(path, [place])[0] if place < footer.num_rows else None


def _groups(path: Path, stamp: int, groups: list[int], columns: tuple[str, ...] | None) -> Iterator[pa.Table]:
    """Yields row groups; those of a small file stay decoded: of a larger one each page would throw out the last's."""
    footer, _ = _footer(path, stamp)
    if footer.num_row_groups <= GROUPS_KEPT:
        yield from (_group(path, stamp, group, columns) for group in groups)
        return
    with pq.ParquetFile(path, metadata=footer, memory_map=True) as file:
        yield from (_read(file, group, columns) for group in groups)


@lru_cache(maxsize=GROUPS_KEPT)
def _group(path: Path, stamp: int, group: int, columns: tuple[str, ...] | None) -> pa.Table:
    footer, _ = _footer(path, stamp)
    with pq.ParquetFile(path, metadata=footer, memory_map=True) as file:
        return _read(file, group, columns)


def _read(file: pq.ParquetFile, group: int, columns: tuple[str, ...] | None) -> pa.Table:
    # One thread: a row group is small, and other requests have the other cores.
    return file.read_row_group(group, columns=None if columns is None else list(columns), use_threads=False)


@lru_cache(maxsize=FOOTERS_KEPT)
def _footer(path: Path, stamp: int) -> tuple[pq.FileMetaData, NDArray[np.int64]]:
    """Returns a file's footer and the first row of each of its row groups, (G,)."""
    del stamp  # part of the cache's key: another file, another footer
    footer = pq.read_metadata(path)
    sizes = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    return footer, np.cumsum([0, *sizes[:-1]])
