"""From the cells of a board to its rows: means over seeds, paired differences from the baseline, Holm, relative cost.

This module must not know the API or Markdown.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from frontend.leaderboard.figures import FIGURES, Cost, Entry
from frontend.leaderboard.plan import BASELINE
from frontend.leaderboard.planted import ReliabilityBin, pooled
from frontend.leaderboard.statistics import PairedDifference, holm, mean_and_deviation, paired_difference

TIME_BASELINE = "multi-head"
TESTED = "fused"
"""The figure whose differences are tested; the others' intervals are shown without a test."""
FEW_SEEDS = 5
"""Under so many seeds a comparison is called exploratory (method.md)."""


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        method: kind of the objective.
        seeds: with a finished run, ascending.
        means: figure -> mean over them, None where no run has it.
        deviations: figure -> sample standard deviation.
        differences: figure -> method minus baseline, paired over the seeds that both have.
        holm_p: adjusted p-value of the tested figure; None for the baseline and under two seeds.
        passes: backward passes, in those of the baseline (mean over shared seeds).
        time: seconds, in those of multi-head (mean over shared seeds).
        seconds: mean over seeds.
        bins: reliability of the posterior, seeds pooled.
    """

    method: str
    seeds: tuple[int, ...]
    means: dict[str, float | None]
    deviations: dict[str, float | None]
    differences: dict[str, PairedDifference | None]
    holm_p: float | None
    passes: float | None
    time: float | None
    seconds: float | None
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class Board:
    """A whole leaderboard.

    Attributes:
        entries: every cell, failures too.
        rows: methods, best mean of the tested figure first.
        family: number of differences that Holm's correction is over.
        num_seeds: asked for.
    """

    entries: tuple[Entry, ...]
    rows: tuple[Row, ...]
    family: int
    num_seeds: int

    @property
    def exploratory(self) -> bool:
        """Whether there are too few seeds to claim anything."""
        return self.num_seeds < FEW_SEEDS


def board_of(entries: Sequence[Entry]) -> Board:
    """Returns the board of some cells."""
    by_method: dict[str, dict[int, Entry]] = {}
    for entry in entries:
        runs = by_method.setdefault(entry.method, {})
        if entry.failure is None:
            runs[entry.seed] = entry
    differences = {
        method: {
            name: paired_difference(_values(by_method.get(BASELINE, {}), name), _values(runs, name))
            for name in FIGURES
            if method != BASELINE
        }
        for method, runs in by_method.items()
    }
    p_values = {}
    for method, found in differences.items():
        tested = found.get(TESTED)
        if tested is not None and tested.p_value is not None:
            p_values[method] = tested.p_value
    adjusted = holm(p_values)
    rows = [_row(method, by_method, differences[method], adjusted.get(method)) for method in by_method]
    rows.sort(key=lambda row: row.means[TESTED] or 0.0, reverse=True)
    return Board(tuple(entries), tuple(rows), len(p_values), len({entry.seed for entry in entries}))


def _row(
    method: str,
    by_method: Mapping[str, Mapping[int, Entry]],
    differences: dict[str, PairedDifference | None],
    holm_p: float | None,
) -> Row:
    runs = by_method[method]
    spread = {name: mean_and_deviation([*_values(runs, name).values()]) for name in FIGURES}
    seconds = [run.cost.seconds for run in runs.values() if run.cost]
    return Row(
        method=method,
        seeds=tuple(sorted(runs)),
        means={name: mean for name, (mean, _) in spread.items()},
        deviations={name: deviation for name, (_, deviation) in spread.items()},
        differences=differences,
        holm_p=holm_p,
        passes=_ratio(by_method.get(BASELINE, {}), runs, "backward_passes"),
        time=_ratio(by_method.get(TIME_BASELINE, {}), runs, "seconds"),
        seconds=statistics.fmean(seconds) if seconds else None,
        bins=pooled([run.planted for run in runs.values() if run.planted]),
    )


def _values(runs: Mapping[int, Entry], name: str) -> dict[int, float]:
    return {seed: value for seed, run in runs.items() if (value := run.metrics.get(name)) is not None}


def _ratio(base: Mapping[int, Entry], runs: Mapping[int, Entry], name: str) -> float | None:
    def costs(entries: Mapping[int, Entry]) -> dict[int, float]:
        return {seed: value for seed, run in entries.items() if (value := _cost(run.cost, name))}

    below, above = costs(base), costs(runs)
    ratios = [above[seed] / below[seed] for seed in above if seed in below]
    return statistics.fmean(ratios) if ratios else None


def _cost(cost: Cost | None, name: str) -> float | None:
    return getattr(cost, name) if cost else None
