"""Several runs side by side: curves, the settings that differ, spread over seeds, paired comparison."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from backend.analysis import moved_samples, paired
from backend.tables import Tables
from worker.contract.events import ByModality, EpochFinished, Stage
from worker.contract.resources import Run

MAX_MOVED = 100
EXACT_UP_TO = 1_000
"""Discordant pairs up to which McNemar's test is the exact binomial one."""


class CurvePoint(BaseModel):
    """One epoch of one run, on the validation split."""

    epoch: int
    stage: Stage
    accuracy: ByModality
    mean_gap: float | None
    mean_abs_gap: float | None


class ComparedRun(BaseModel):
    """A run as one side of a comparison."""

    run: Run
    curve: list[CurvePoint]


class Spread(BaseModel):
    """Final validation accuracy of runs that differ only in their seed."""

    runs: list[str]
    seeds: list[int]
    mean: ByModality
    standard_deviation: ByModality = Field(description="Sample standard deviation; null for a single run.")


class MovedSample(BaseModel):
    """A sample that belongs to different groups in two runs."""

    sample_id: str
    label: str
    first_group: str
    second_group: str
    first_gap: float
    second_gap: float


class PairedTest(BaseModel):
    """McNemar's test of two runs' fused predictions on the samples that both have."""

    first: str
    second: str
    split: str
    num_samples: int
    both_right: int
    only_first_right: int
    only_second_right: int
    both_wrong: int
    p_value: float
    moved: list[MovedSample] = Field(description="Widest change of gap first, at most 100.")


class Comparison(BaseModel):
    """Several runs side by side."""

    runs: list[ComparedRun]
    differing: dict[str, dict[str, Any]] = Field(description="Dotted setting -> run -> value, where they differ.")
    spreads: list[Spread]
    paired: list[PairedTest] = Field(description="The first run against each other one.")


def curve(events: Sequence[EpochFinished]) -> list[CurvePoint]:
    """Returns a run's validation curve."""
    return [
        CurvePoint(
            epoch=event.epoch,
            stage=event.stage,
            accuracy=event.validation.accuracy,
            mean_gap=event.validation.mean_gap,
            mean_abs_gap=event.validation.mean_abs_gap,
        )
        for event in events
    ]


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Returns a nested document as dotted names and plain values."""
    if not isinstance(value, dict):
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for name, inner in value.items():
        leaves |= flat(inner, f"{prefix}.{name}" if prefix else name)
    return leaves


def differing_settings(specs: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the settings in which specs differ, names and tags apart; a setting that one lacks is null there."""
    leaves = {run_id: flat(spec) for run_id, spec in specs.items()}
    names = {name for settings in leaves.values() for name in settings} - {"name", "tags"}
    table = {name: {run_id: settings.get(name) for run_id, settings in leaves.items()} for name in sorted(names)}
    return {name: values for name, values in table.items() if len({repr(value) for value in values.values()}) > 1}


def spreads(runs: Sequence[ComparedRun]) -> list[Spread]:
    """Returns mean and spread of the last accuracies of runs that differ only in their seed."""
    groups: dict[str, list[ComparedRun]] = defaultdict(list)
    for compared in runs:
        if compared.curve:
            spec = compared.run.spec
            groups[spec.digest(exclude=frozenset({"seed", "name", "tags"}))].append(compared)
    return [_spread(group) for group in groups.values()]


def _spread(group: list[ComparedRun]) -> Spread:
    means: dict[str, float | None] = {}
    deviations: dict[str, float | None] = {}
    for name in ("fused", "audio", "visual"):
        values = [getattr(compared.curve[-1].accuracy, name) for compared in group]
        present = [value for value in values if value is not None]
        means[name] = statistics.fmean(present) if present else None
        deviations[name] = statistics.stdev(present) if len(present) > 1 else None
    return Spread(
        runs=[compared.run.id for compared in group],
        seeds=[compared.run.spec.seed for compared in group],
        mean=ByModality(**means),
        standard_deviation=ByModality(**deviations),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Returns the two-sided p-value that both runs are right equally often.

    Exact (binomial) for few discordant pairs, else chi-squared with Edwards' continuity correction.

    Args:
        only_first: samples that only the first has right.
        only_second: samples that only the second has right.

    Source: McNemar 1947; Edwards 1948.
    """
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0
    if discordant <= EXACT_UP_TO:
        tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1))
        return min(1.0, float(2 * tail / 2**discordant))
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / discordant
    return math.erfc(math.sqrt(statistic / 2))


def paired_test(tables: Tables, first: tuple[str, Path], second: tuple[str, Path], split: str) -> PairedTest | None:
    """Returns the paired comparison of two runs, or None when they share no samples.

    Args:
        tables: what reads.
        first: a run's id and its newest table.
        second: another run's.
        split: where both are compared.
    """
    counts = paired(tables, first[1], second[1], split)
    if not counts["num_samples"]:
        return None
    moved = moved_samples(tables, first[1], second[1], split, MAX_MOVED)
    return PairedTest(
        first=first[0],
        second=second[0],
        split=split,
        p_value=mcnemar(counts["only_first_right"], counts["only_second_right"]),
        moved=[MovedSample(**row) for row in moved],
        **counts,
    )
