"""How a run's clips fared over its epochs: mean and spread of each clip's score gap, from the trajectories file.

N clips of the store. What is computed of a run is kept for the next call: a page that is brushed asks again and again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from worker.contract.errors import NotFoundError
from worker.contract.layout import RunFolder

RegionName = Literal["steady_audio", "steady_visual", "similar", "changing"]
REGIONS: Final[tuple[RegionName, ...]] = get_args(RegionName)
LEAD: Final = 0.5
"""|mean gap| from which one modality leads: the rule by which a clip counts as dominant (worker.science.metrics)."""
CHANGING: Final = 0.25
"""Standard deviation over epochs from which a clip counts as changing: half of what separates the other regions."""
MOST_EPOCHS: Final = 64
"""Epochs that are read, evenly spread, where there are more."""
KEPT: Final = 3


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of N clips' gaps over some epochs; NaN where a clip was never evaluated."""

    epochs: tuple[int, ...]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    def region(self, name: RegionName) -> NDArray[np.bool_]:
        """Returns which clips (N,) lie in a region; the regions do not overlap and leave out only NaN."""
        with np.errstate(invalid="ignore"):
            steady = self.deviation < CHANGING
            found: NDArray[np.bool_] = {
                "steady_audio": steady & (self.mean >= LEAD),
                "steady_visual": steady & (self.mean <= -LEAD),
                "similar": steady & (np.abs(self.mean) < LEAD),
                "changing": self.deviation >= CHANGING,
            }[name]
        return found


def spread(folder: RunFolder, num_samples: int, first: int, last: int) -> Spread:
    """Returns mean and deviation over the epochs first to last, at most 64 of them.

    Args:
        folder: the run's.
        num_samples: N of the dataset's store.
        first: from 1.
        last: a finished epoch.

    Raises:
        NotFoundError: code `no-trajectories`, when the run has none that fit the dataset as it is prepared now.
    """
    try:
        size = folder.gaps.stat().st_size
    except FileNotFoundError:
        size = 0
    if not num_samples or size % (4 * num_samples) or size < 4 * num_samples * last:
        raise NotFoundError(
            f"The run has no trajectories that fit the dataset of {num_samples} clips as it is prepared now.",
            code="no-trajectories",
        )
    return _spread(folder.gaps, num_samples, min(first, last), last)


@lru_cache(maxsize=KEPT)
def _spread(path: Path, num_samples: int, first: int, last: int) -> Spread:
    epochs = np.unique(np.linspace(first, last, min(MOST_EPOCHS, last - first + 1)).round().astype(int))
    count = np.zeros(num_samples, np.int32)
    mean, squares = np.zeros(num_samples), np.zeros(num_samples)  # Welford: no cancellation
    for epoch in epochs.tolist():
        gaps = gaps_at(path, num_samples, epoch)
        known = ~np.isnan(gaps)
        count += known
        step = np.where(known, gaps - mean, 0.0)
        mean += step / np.maximum(count, 1)
        squares += step * np.where(known, gaps - mean, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.where(count > 0, np.sqrt(squares / count), np.nan)
    return Spread(
        tuple(epochs.tolist()),
        np.where(count > 0, mean, np.nan).astype(np.float32),
        deviation.astype(np.float32),
    )


def gaps_at(path: Path, num_samples: int, epoch: int) -> NDArray[np.float32]:
    """Returns the gaps (N,) of one epoch from a trajectories file."""
    return np.fromfile(path, "<f4", num_samples, offset=(epoch - 1) * num_samples * 4)
