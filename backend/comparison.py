"""Several runs side by side: curves, one epoch of each, the settings that differ, spread over seeds."""

from __future__ import annotations

import statistics
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from backend.samples import Split
from worker.contract.events import ByModality, EpochFinished, SplitReport, Stage
from worker.contract.resources import Run

MAX_CURVE_POINTS = 200
CACHED_CURVES = 256


class CurvePoint(BaseModel):
    """One epoch of one run, on the compared split; null where that split was not evaluated."""

    epoch: int
    stage: Stage
    accuracy: ByModality
    mean_gap: float | None
    mean_abs_gap: float | None


class ComparedRun(BaseModel):
    """A run as one side of a comparison."""

    run: Run
    curve: list[CurvePoint] = Field(description="At most 200 epochs, evenly spread, with the first and the newest.")
    at: SplitReport | None = Field(description="The split at the compared epoch; null where the run has none of it.")


class Spread(BaseModel):
    """Accuracy at the compared epoch of runs that differ only in their seed."""

    runs: list[str]
    seeds: list[int]
    num_runs: int = Field(description="Runs that have the compared epoch: n of mean and standard deviation.")
    mean: ByModality
    standard_deviation: ByModality = Field(description="Sample standard deviation; null for a single run.")


class Comparison(BaseModel):
    """Several runs side by side, at the same epoch of each."""

    split: Split
    epoch: int | None = Field(description="The compared epoch; null where no run has finished one.")
    newest_shared: int | None = Field(description="The last epoch that all runs with finished epochs have.")
    newest: int | None = Field(description="The last epoch that any of the runs has.")
    runs: list[ComparedRun]
    missing: list[str] = Field(description="Ids that no run has, such as those of deleted runs.")
    differing: dict[str, dict[str, Any]] = Field(description="Dotted setting -> run -> value, where they differ.")
    spreads: list[Spread]


def report_of(event: EpochFinished, split: Split) -> SplitReport | None:
    """Returns a split's report of an epoch; None where it was not evaluated."""
    return event.test if split == "test" else event.train if split == "train" else event.validation


def curve(events: Sequence[EpochFinished], split: Split) -> list[CurvePoint]:
    """Returns a run's curve on a split, thinned."""
    step = -(-len(events) // MAX_CURVE_POINTS) or 1
    kept = list(events[::step])
    if events and kept[-1] is not events[-1]:
        kept[-1:] = [events[-1]] if len(kept) == MAX_CURVE_POINTS else [kept[-1], events[-1]]
    return [
        CurvePoint(
            epoch=event.epoch,
            stage=event.stage,
            accuracy=report.accuracy,
            mean_gap=report.mean_gap,
            mean_abs_gap=report.mean_abs_gap,
        )
        for event in kept
        if (report := report_of(event, split)) is not None
    ]


class Curves:
    """Curves of runs, kept in memory until their run finishes another epoch: parsing all events takes long."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, Split], list[CurvePoint]] = OrderedDict()
        self._lock = threading.Lock()

    def of(
        self, run_id: str, newest: int, split: Split, read: Callable[[str], list[EpochFinished]]
    ) -> list[CurvePoint]:
        """Returns a run's curve.

        Args:
            run_id: the run.
            newest: its finished epochs; another number, another curve.
            split: which split.
            read: returns all epochs of a run.
        """
        key = (run_id, newest, split)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = curve(read(run_id), split)
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > CACHED_CURVES:
                self._kept.popitem(last=False)
        return made


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
    """Returns mean and spread of the accuracies at the compared epoch, for runs that differ only in their seed."""
    groups: dict[str, list[ComparedRun]] = defaultdict(list)
    for compared in runs:
        groups[compared.run.spec.digest(exclude=frozenset({"seed", "name", "tags"}))].append(compared)
    return [_spread(group) for group in groups.values()]


def _spread(group: list[ComparedRun]) -> Spread:
    means: dict[str, float | None] = {}
    deviations: dict[str, float | None] = {}
    reports = [compared.at for compared in group if compared.at is not None]
    for name in ("fused", "audio", "visual"):
        present = [value for report in reports if (value := getattr(report.accuracy, name)) is not None]
        means[name] = statistics.fmean(present) if present else None
        deviations[name] = statistics.stdev(present) if len(present) > 1 else None
    return Spread(
        runs=[compared.run.id for compared in group],
        seeds=[compared.run.spec.seed for compared in group],
        num_runs=len(reports),
        mean=ByModality(**means),
        standard_deviation=ByModality(**deviations),
    )
