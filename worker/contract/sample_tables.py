"""Which of a run's per-epoch sample tables are there: older ones may have been thinned out."""

from __future__ import annotations

import json

from worker.contract.layout import RunFolder


def kept_every(folder: RunFolder) -> int:
    """Returns k where of a run's older epochs every k-th sample table is kept; 1: all are."""
    try:
        return int(json.loads(folder.thinned.read_bytes())["every"])
    except (FileNotFoundError, NotADirectoryError):
        return 1


def table_epochs(folder: RunFolder) -> list[int]:
    """Returns the epochs whose sample tables are there, ascending: old ones may have been thinned out."""
    stems = (path.stem.removeprefix("epoch-") for path in folder.samples.glob("epoch-*.parquet"))
    return sorted(int(stem) for stem in stems if stem.isdigit())
