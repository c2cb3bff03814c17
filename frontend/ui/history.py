"""Folds the events of a run into its history: incremental, in order, each event once.

This module knows the contract's events and pandas; it must not know Streamlit or HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

import pandas as pd

from frontend.ui import words
from worker.contract.events import (
    EpochFinished,
    Event,
    Mixture,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunResumed,
    RunStarted,
    SplitReport,
    Stage,
)

Split = Literal["train", "validation", "test"]
MixtureName = Literal["mixture", "signed_mixture"]
MAX_POINTS: Final = 240
"""Epochs that a curve draws at most: a longer run is thinned, its first and newest epoch always kept."""
HEAT_BINS: Final = 40
GRADIENT_PARTS: Final[dict[str, str]] = {"audio": "Audio", "visual": "Visual", "fusion": "Fusion"}


@dataclass
class History:
    """What a run has said so far. `cursor` is the `seq` of the newest event that was folded in."""

    cursor: int = 0
    started: RunStarted | None = None
    epochs: list[EpochFinished] = field(default_factory=list)
    interruptions: list[RunInterrupted] = field(default_factory=list)
    resumptions: list[RunResumed] = field(default_factory=list)
    ended: RunFinished | RunFailed | RunCancelled | None = None

    def fold(self, events: Iterable[Event]) -> int:
        """Takes events in; those that are known already are passed over.

        Args:
            events: by rising `seq`.

        Returns:
            How many were new.

        Raises:
            ValueError: when an event is missing between the newest known and the next.
        """
        new = 0
        for event in events:
            if event.seq <= self.cursor:
                continue
            if event.seq != self.cursor + 1:
                raise ValueError(f"expected event {self.cursor + 1}, got {event.seq}: fetch again from {self.cursor}")
            self._take(event)
            self.cursor = event.seq
            new += 1
        return new

    def _take(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.started = event
            case EpochFinished():
                self.epochs.append(event)
                self.ended = None
            case RunInterrupted():
                self.interruptions.append(event)
            case RunResumed():
                self.resumptions.append(event)
                self.ended = None
            case RunFinished() | RunFailed() | RunCancelled():
                self.ended = event

    @property
    def newest(self) -> int:
        """The newest finished epoch; 0 before the first."""
        return self.epochs[-1].epoch if self.epochs else 0

    def at(self, epoch: int) -> EpochFinished | None:
        """Returns the event of an epoch, or of the newest before it; None before the first."""
        position = min(epoch, len(self.epochs))
        return self.epochs[position - 1] if position >= 1 else None

    def boundaries(self) -> list[tuple[int, Stage]]:
        """Returns the last epoch of each stage that is over, with the stage that follows it."""
        return [(before.epoch, after.stage) for before, after in pairwise(self.epochs) if before.stage != after.stage]

    def stage_boundary(self) -> int | None:
        """Returns the last epoch of stage 1 if a later stage has begun, else None."""
        return next((epoch for epoch, _ in self.boundaries()), None)

    def thinned(self) -> list[EpochFinished]:
        """Returns at most MAX_POINTS epochs, evenly spread, with the first and the newest."""
        if len(self.epochs) <= MAX_POINTS:
            return self.epochs
        step = -(-len(self.epochs) // MAX_POINTS)
        kept = self.epochs[::step]
        return kept if kept[-1] is self.epochs[-1] else [*kept, self.epochs[-1]]


def split_report(event: EpochFinished, split: Split) -> SplitReport | None:
    """Returns the report of one split at an epoch; None where that split was not evaluated."""
    report: SplitReport | None = getattr(event, split)
    return report


def known_accuracies(report: SplitReport) -> dict[str, float]:
    """Returns accuracy by prediction; of a run on one modality the fused one is left out, since it is the same."""
    values = {name: getattr(report.accuracy, name) for name in words.MODALITIES}
    known = {name: value for name, value in values.items() if value is not None}
    if report.unimodal_source == "solo" and len(known) > 1:
        known.pop("fused", None)
    return known


def accuracy_table(history: History, split: Split) -> pd.DataFrame:
    """Returns epoch, series (Fused, Audio, Visual) and accuracy (0..1), a row for each value of `known_accuracies`."""
    rows = [
        (event.epoch, words.MODALITIES[name], value)
        for event in history.thinned()
        if (report := split_report(event, split))
        for name, value in known_accuracies(report).items()
    ]
    return pd.DataFrame(rows, columns=["epoch", "series", "accuracy"])


def gap_table(history: History, split: Split) -> pd.DataFrame:
    """Returns epoch, mean_gap and mean_abs_gap, a row for each epoch that has gaps."""
    rows = [
        (event.epoch, report.mean_gap, report.mean_abs_gap)
        for event in history.thinned()
        if (report := split_report(event, split)) and report.mean_abs_gap is not None
    ]
    return pd.DataFrame(rows, columns=["epoch", "mean_gap", "mean_abs_gap"])


def mixture_table(history: History, split: Split, name: MixtureName = "mixture") -> pd.DataFrame:
    """Returns epoch, component, weight, mean, low and high (mean -+ one standard deviation)."""
    rows = []
    for event in history.thinned():
        report = split_report(event, split)
        mixture: Mixture | None = getattr(report, name) if report else None
        for part in mixture.components if mixture else ():
            spread = part.variance**0.5
            title = words.ROLES[part.role]
            rows.append((event.epoch, title, part.weight, part.mean, part.mean - spread, part.mean + spread))
    return pd.DataFrame(rows, columns=["epoch", "component", "weight", "mean", "low", "high"])


def share_table(history: History) -> pd.DataFrame:
    """Returns epoch, part (Audio, Visual, Fusion: those the run has) and share (0..1) of the squared gradient norm."""
    epochs = history.thinned()
    parts = [name for name in GRADIENT_PARTS if any(getattr(event.gradient_share, name) for event in epochs)]
    rows = [
        (event.epoch, GRADIENT_PARTS[name], getattr(event.gradient_share, name)) for event in epochs for name in parts
    ]
    return pd.DataFrame(rows, columns=["epoch", "part", "share"])


def number_table(history: History, of: Literal["loss_terms", "method"]) -> pd.DataFrame:
    """Returns epoch, name and value of the loss terms or of the method's own coefficients; numbers alone.

    Args:
        history: the run.
        of: which of the epoch event's tables.
    """
    rows = [
        (event.epoch, name.replace("_", " "), float(value))
        for event in history.thinned()
        for name, value in getattr(event, of).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return pd.DataFrame(rows, columns=["epoch", "name", "value"])


def group_table(history: History, split: Split) -> pd.DataFrame:
    """Returns epoch, group, samples and share (0..1): how many samples are in each correctness group."""
    rows = []
    for event in history.thinned():
        report = split_report(event, split)
        if report and report.correctness:
            for name, title in words.GROUPS.items():
                samples = getattr(report.correctness, name)
                rows.append((event.epoch, title, samples, samples / max(report.num_samples, 1)))
    return pd.DataFrame(rows, columns=["epoch", "group", "samples", "share"])


def heat_table(history: History, split: Split, max_epochs: int = 60) -> pd.DataFrame:
    """Returns epoch, epoch_end, low, high and share (0..1) for a heat map of gaps by epoch; empty cells are left out.

    Args:
        history: the run.
        split: whose gaps.
        max_epochs: columns that are drawn at most; a longer run shows every n-th epoch.
    """
    step = max(1, -(-len(history.epochs) // max_epochs))
    rows = []
    for event in history.epochs[::step]:
        report = split_report(event, split)
        if not report or not report.histogram:
            continue
        edges, counts = report.histogram.edges, report.histogram.counts
        merge = len(counts) // HEAT_BINS
        for start in range(0, len(counts), merge):
            samples = sum(counts[start : start + merge])
            if samples:
                low, high = edges[start], edges[start + merge]
                rows.append((event.epoch - 0.5, event.epoch - 0.5 + step, low, high, samples / report.num_samples))
    return pd.DataFrame(rows, columns=["epoch", "epoch_end", "low", "high", "share"])
