"""The map of a run's clips: mean score gap against its spread over epochs, as density for many and points for few."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, Field

from backend.spreads import CHANGING, LEAD, REGIONS, RegionName, Spread
from backend.tables import Tables

MOST_POINTS: Final = 1_500
MEAN_BINS: Final = 50
DEVIATION_BINS: Final = 30
TITLES: Final[dict[RegionName, str]] = {
    "steady_audio": "Steady audio lead",
    "steady_visual": "Steady visual lead",
    "similar": "Similar all along",
    "changing": "Changing",
}
RULES: Final[dict[RegionName, str]] = {
    "steady_audio": f"mean gap at least {LEAD:+g}, spread below {CHANGING:g}",
    "steady_visual": f"mean gap at most {-LEAD:+g}, spread below {CHANGING:g}",
    "similar": f"mean gap between {-LEAD:+g} and {LEAD:+g}, spread below {CHANGING:g}",
    "changing": f"spread at least {CHANGING:g}",
}


class MapRegion(BaseModel):
    """A named part of the map."""

    name: RegionName
    title: str
    rule: str
    num_samples: int


class MapPoint(BaseModel):
    """One clip on the map."""

    sample_id: str
    label: str
    mean_gap: float
    gap_deviation: float


class MapBin(BaseModel):
    """Clips of a rectangle of the map; empty ones are left out."""

    mean_gap: float = Field(description="Lower edge.")
    gap_deviation: float = Field(description="Lower edge.")
    num_samples: int


class SampleMap(BaseModel):
    """Mean and standard deviation of each clip's score gap over epochs."""

    from_epoch: int
    to_epoch: int
    num_epochs: int = Field(description="Epochs that were read, evenly spread where there are more than 64.")
    split: str
    num_samples: int = Field(description="Clips of the split with at least one gap.")
    mean_gap_step: float
    gap_deviation_step: float
    bins: list[MapBin] = Field(description="At most 50 x 30.")
    points: list[MapPoint] = Field(description="Every clip where there are at most 1,500, else empty.")
    regions: list[MapRegion]


def sample_map(tables: Tables, clips: Path, found: Spread, split: str) -> SampleMap:
    """Returns the map of one split.

    Args:
        tables: what reads.
        clips: the dataset's table of clips (N).
        found: mean and deviation of the N clips.
        split: whose clips.
    """
    chosen = np.asarray(tables.column("SELECT split = ? AS ok FROM read_parquet(?)", (split, str(clips))), bool)
    chosen = chosen & ~np.isnan(found.mean)
    rows = np.flatnonzero(chosen)
    mean, deviation = found.mean[rows], found.deviation[rows]
    top = max(0.1, math.ceil(float(deviation.max(initial=0.0)) * 20) / 20)
    edges = np.linspace(-1, 1, MEAN_BINS + 1), np.linspace(0, top, DEVIATION_BINS + 1)
    counts, *_ = np.histogram2d(mean.astype(np.float64), deviation.astype(np.float64), bins=edges)
    filled = np.argwhere(counts > 0)
    return SampleMap(
        from_epoch=found.epochs[0],
        to_epoch=found.epochs[-1],
        num_epochs=len(found.epochs),
        split=split,
        num_samples=len(rows),
        mean_gap_step=2 / MEAN_BINS,
        gap_deviation_step=top / DEVIATION_BINS,
        bins=[
            MapBin(
                mean_gap=round(float(edges[0][x]), 6),
                gap_deviation=round(float(edges[1][y]), 6),
                num_samples=int(counts[x, y]),
            )
            for x, y in filled.tolist()
        ],
        points=_points(tables, clips, rows.tolist(), found) if len(rows) <= MOST_POINTS else [],
        regions=[
            MapRegion(
                name=name,
                title=TITLES[name],
                rule=RULES[name],
                num_samples=int(np.count_nonzero(found.region(name) & chosen)),
            )
            for name in REGIONS
        ],
    )


def _points(tables: Tables, clips: Path, rows: list[int], found: Spread) -> list[MapPoint]:
    if not rows:
        return []
    sql = (
        "SELECT file_row_number AS place, sample_id, label FROM read_parquet(?, file_row_number = true) "
        "WHERE file_row_number IN (SELECT unnest(?::BIGINT[])) ORDER BY place"
    )
    return [
        MapPoint(
            sample_id=row["sample_id"],
            label=row["label"],
            mean_gap=round(float(found.mean[row["place"]]), 4),
            gap_deviation=round(float(found.deviation[row["place"]]), 4),
        )
        for row in tables.rows(sql, (str(clips), rows))
    ]
