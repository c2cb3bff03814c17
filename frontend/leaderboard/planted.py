"""How well gap and posterior find clips whose corruption is known, on one split of one run.

The sign: a gap is audio minus visual, so a clip whose sound was destroyed should have a low gap, one whose picture was
destroyed a high one. This module must not know the API.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NUM_BINS = 5
CLEAN, AUDIO, VISUAL = "none", "audio", "visual"


@dataclass(frozen=True)
class PlantedSample:
    """One clip: its scores, and what was done to it (none, audio or visual)."""

    corrupted: str
    gap: float | None
    posterior: float | None


@dataclass(frozen=True)
class ReliabilityBin:
    """Clips whose posterior lies in [low, high); the last bin is closed.

    Attributes:
        num_samples: clips in it.
        mean_posterior: of them; None where it is empty.
        share_corrupted: of them, by sound or by picture; None where it is empty.
    """

    low: float
    high: float
    num_samples: int
    mean_posterior: float | None
    share_corrupted: float | None


@dataclass(frozen=True)
class PlantedReport:
    """What planted corruption says of one run.

    Attributes:
        num_clean: clips left whole.
        num_audio: clips without their sound's content.
        num_visual: clips without their picture's content.
        auc_audio: AUC of -gap, audio-corrupted against clean.
        auc_visual: AUC of +gap, visual-corrupted against clean.
        mean_posterior: group -> mean posterior, None where there is none.
        mean_abs_gap: group -> mean |gap|, None where there is none.
        bins: reliability of the posterior; empty where there is none.
        calibration_error: mean over clips of |mean posterior - share corrupted| of their bin.
    """

    num_clean: int
    num_audio: int
    num_visual: int
    auc_audio: float | None
    auc_visual: float | None
    mean_posterior: dict[str, float | None]
    mean_abs_gap: dict[str, float | None]
    bins: tuple[ReliabilityBin, ...]
    calibration_error: float | None


def auc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """Returns the probability that a positive scores above a negative, ties counted half; None without both.

    Source: Mann & Whitney 1947, by mid-ranks.
    """
    if not positive or not negative:
        return None
    ordered = sorted([*((value, 1) for value in positive), *((value, 0) for value in negative)])
    rank_sum, start = 0.0, 0
    while start < len(ordered):
        end = start
        while end < len(ordered) and ordered[end][0] == ordered[start][0]:
            end += 1
        middle_rank = (start + 1 + end) / 2
        rank_sum += middle_rank * sum(kind for _, kind in ordered[start:end])
        start = end
    wins = rank_sum - len(positive) * (len(positive) + 1) / 2
    return wins / (len(positive) * len(negative))


def reliability(
    posteriors: Sequence[float], corrupted: Sequence[bool], num_bins: int = NUM_BINS
) -> tuple[ReliabilityBin, ...]:
    """Returns the posterior in equal bins against the share that is corrupted.

    Args:
        posteriors: in [0, 1].
        corrupted: of the same clips.
        num_bins: at least 1.
    """
    members: list[list[tuple[float, bool]]] = [[] for _ in range(num_bins)]
    for posterior, is_corrupted in zip(posteriors, corrupted, strict=True):
        members[min(int(posterior * num_bins), num_bins - 1)].append((posterior, is_corrupted))
    return tuple(
        ReliabilityBin(
            low=index / num_bins,
            high=(index + 1) / num_bins,
            num_samples=len(inside),
            mean_posterior=_mean(posterior for posterior, _ in inside),
            share_corrupted=_mean(float(is_corrupted) for _, is_corrupted in inside),
        )
        for index, inside in enumerate(members)
    )


def calibration_error(bins: Sequence[ReliabilityBin]) -> float | None:
    """Returns the mean over samples of |mean posterior - share corrupted| of their bin; None without samples.

    Source: Naeini et al. 2015 (expected calibration error).
    """
    total = sum(one.num_samples for one in bins)
    if not total:
        return None
    return (
        sum(
            one.num_samples * abs(one.mean_posterior - one.share_corrupted)
            for one in bins
            if one.mean_posterior is not None and one.share_corrupted is not None
        )
        / total
    )


def planted_report(samples: Iterable[PlantedSample]) -> PlantedReport | None:
    """Returns what planted corruption says of a run, or None where no clip is corrupted."""
    groups: dict[str, list[PlantedSample]] = {CLEAN: [], AUDIO: [], VISUAL: []}
    for sample in samples:
        groups[sample.corrupted].append(sample)
    if not groups[AUDIO] and not groups[VISUAL]:
        return None
    gaps = {name: [one.gap for one in group if one.gap is not None] for name, group in groups.items()}
    known = {name: [one.posterior for one in group if one.posterior is not None] for name, group in groups.items()}
    posteriors = [value for values in known.values() for value in values]
    is_corrupted = [name != CLEAN for name, values in known.items() for _ in values]
    bins = reliability(posteriors, is_corrupted) if posteriors else ()
    return PlantedReport(
        num_clean=len(groups[CLEAN]),
        num_audio=len(groups[AUDIO]),
        num_visual=len(groups[VISUAL]),
        auc_audio=auc([-gap for gap in gaps[AUDIO]], [-gap for gap in gaps[CLEAN]]),
        auc_visual=auc(gaps[VISUAL], gaps[CLEAN]),
        mean_posterior={name: _mean(values) for name, values in known.items()},
        mean_abs_gap={name: _mean(abs(gap) for gap in values) for name, values in gaps.items()},
        bins=bins,
        calibration_error=calibration_error(bins),
    )


def pooled(reports: Sequence[PlantedReport]) -> tuple[ReliabilityBin, ...]:
    """Returns the bins of several runs of one method as one."""
    merged = []
    for bins in zip(*(report.bins for report in reports if report.bins), strict=True):
        number = sum(one.num_samples for one in bins)
        merged.append(
            ReliabilityBin(
                low=bins[0].low,
                high=bins[0].high,
                num_samples=number,
                mean_posterior=_weighted([(one.num_samples, one.mean_posterior) for one in bins], number),
                share_corrupted=_weighted([(one.num_samples, one.share_corrupted) for one in bins], number),
            )
        )
    return tuple(merged)


def _weighted(parts: Sequence[tuple[int, float | None]], total: int) -> float | None:
    return sum(number * value for number, value in parts if value is not None) / total if total else None


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.fmean(found) if found else None
