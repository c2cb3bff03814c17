"""Where a clip stands in a table of samples: found by hash, so that a look-up reads 25 rows and not a million ids.

An index takes 12 bytes a clip and is made once for a table; a few are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.tables import Tables

KEPT = 4


def rows_of(tables: Tables, path: Path, sample_ids: Sequence[str]) -> list[int]:
    """Returns the rows of a table in which clips may stand, ascending; those whose hash is another's too.

    Args:
        tables: what reads.
        path: a Parquet file with a column sample_id.
        sample_ids: the clips; one that is not in the table has no row, or a wrong one.
    """
    if not sample_ids:
        return []
    hashes, order = _index(tables, path, path.stat().st_mtime_ns)
    wanted = tables.column("SELECT hash(unnest(?::VARCHAR[])) AS hash", (list(sample_ids),))
    first, last = np.searchsorted(hashes, wanted, "left"), np.searchsorted(hashes, wanted, "right")
    found = {int(order[place]) for low, high in zip(first, last, strict=True) for place in range(low, high)}
    return sorted(found)


@lru_cache(maxsize=KEPT)
def _index(tables: Tables, path: Path, stamp: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    del stamp  # part of the cache's key: another table, another index
    hashes = tables.column("SELECT hash(sample_id) AS hash FROM read_parquet(?)", (str(path),))
    order = np.argsort(hashes, kind="stable").astype(np.int32)
    return hashes[order], order


@lru_cache(maxsize=2 * KEPT)
def _places(tables: Tables, table: Path, stamp: int, clips: Path, clips_stamp: int) -> NDArray[np.int32]:
    del stamp
    hashes, order = _index(tables, clips, clips_stamp)
    wanted = tables.column("SELECT hash(sample_id) AS hash FROM read_parquet(?)", (str(table),))
    if not len(hashes):
        return np.full(len(wanted), -1, np.int32)
    found = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
    return np.where(hashes[found] == wanted, order[found], np.int32(-1)).astype(np.int32)


def places(tables: Tables, table: Path, clips: Path) -> NDArray[np.int32]:
    """Returns the row of the store in which each row of a sample table has its clip, (R,); -1 where the store has none.

    Two ids of a million have the same 64 bits with a chance of 3e-8.

    Args:
        tables: what reads.
        table: an epoch's samples, R rows.
        clips: the dataset's clips.
    """
    return _places(tables, table, table.stat().st_mtime_ns, clips, clips.stat().st_mtime_ns)
