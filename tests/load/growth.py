"""Whether what was sampled over time grows: its level after settling, its level at the end, and the slope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

LEVEL_SHARE = 0.2
"""Share of the samples, first and last, whose median is a level."""
HOUR_S = 3_600.0


@dataclass(frozen=True)
class Growth:
    """How a quantity moved after it had settled."""

    first: float
    """Level after settling."""
    last: float
    """Level at the end."""
    per_hour: float
    """Slope of the straight line through all samples after settling."""

    @property
    def ratio(self) -> float:
        """Growth as a share of the first level; below 0 it shrank."""
        return (self.last - self.first) / self.first if self.first else 0.0


def growth(times_s: Sequence[float], values: Sequence[float], settle_s: float) -> Growth:
    """Returns how values moved.

    Args:
        times_s: when each was sampled, ascending.
        values: as many samples.
        settle_s: what was sampled before is left out.

    Raises:
        ValueError: when fewer than 5 samples are left.
    """
    kept = [(at, value) for at, value in zip(times_s, values, strict=True) if at >= settle_s]
    if len(kept) < 5:
        raise ValueError(f"Expected at least 5 samples after {settle_s:.0f} s; got {len(kept)}. Watch for longer.")
    times, sampled = np.array(kept).T
    part = max(1, round(LEVEL_SHARE * len(kept)))
    slope = float(np.polyfit(times / HOUR_S, sampled, 1)[0])
    return Growth(median(sampled[:part]), median(sampled[-part:]), slope)
