"""Metrics of an evaluated split, each one linear in N and over every sample.

This module must not know models or files: it takes what an evaluation produced.

Shapes: N samples.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float, Int

NUM_CALIBRATION_BINS = 15
NUM_HISTOGRAM_BINS = 80
DOMINANT_GAP = 0.5
"""|gap| from which one modality is called dominant. Ours, see `is_dominant`."""
MIN_PROBABILITY = 1e-12
"""Keeps a cross-entropy finite where a sure prediction is wrong."""
ROUNDING = 1e-6
"""How far outside of its range a value may lie, by the rounding of float32, before it is refused."""


@dataclass(frozen=True, eq=False)
class GapHistogram:
    """How many gaps fall into each of 80 equal bins over -1..1; the counts sum to N.

    Attributes:
        edges: (81,), float64, gap units, -1 to 1. A bin holds its left edge; the last one both.
        counts: (80,), int64.
    """

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Correctness:
    """Number of samples in each of four groups, which sum to N; see `correctness`."""

    similar_right: int
    similar_wrong: int
    audio_dominant: int
    visual_dominant: int


def accuracy(predicted: Int[np.ndarray, " N"], labels: Int[np.ndarray, " N"]) -> float:
    """Return the share of samples whose predicted class is the true one.

    Args:
        predicted: (N,), integer, class of the largest logit.
        labels: (N,), integer, the true class.

    Returns:
        0 to 1.

    Raises:
        ValueError: no sample, or the lengths differ.

    Source: textbook.
    """
    _require_same_length(predicted, labels)
    return float((predicted == labels).mean())


def macro_f1(predicted: Int[np.ndarray, " N"], labels: Int[np.ndarray, " N"], num_classes: int) -> float:
    """Return the mean over classes of F1 = 2 TP / (2 TP + FP + FN).

    Classes that are neither predicted nor true here are left out, as in scikit-learn.

    Args:
        predicted: (N,), integer, 0 to C - 1.
        labels: (N,), integer, 0 to C - 1.
        num_classes: C.

    Returns:
        0 to 1.

    Raises:
        ValueError: no sample, the lengths differ, or a class lies outside 0 to C - 1.

    Source: textbook; equals sklearn.metrics.f1_score(average="macro", zero_division=0).
    """
    _require_same_length(predicted, labels)
    lowest = int(min(predicted.min(), labels.min()))
    highest = int(max(predicted.max(), labels.max()))
    if lowest < 0 or highest >= num_classes:
        raise ValueError(f"expected classes 0 to {num_classes - 1}, got {lowest} to {highest}")
    hits = np.bincount(labels[predicted == labels], minlength=num_classes)
    seen = np.bincount(labels, minlength=num_classes) + np.bincount(predicted, minlength=num_classes)
    occurring = seen > 0
    return float((2 * hits[occurring] / seen[occurring]).mean())


def cross_entropy(true_class_probabilities: Float[np.ndarray, " N"]) -> float:
    """Return the mean cross-entropy, from the probability that each sample's true class got.

    Args:
        true_class_probabilities: (N,), float, in [0, 1]; one below MIN_PROBABILITY counts as that.

    Returns:
        Mean of -ln p, nats, at least 0.

    Raises:
        ValueError: there is no sample.

    Source: textbook.
    """
    if not len(true_class_probabilities):
        raise ValueError("expected at least one sample, got none")
    p = np.maximum(np.asarray(true_class_probabilities, dtype=np.float64), MIN_PROBABILITY)
    return float(-np.log(p).mean())


def expected_calibration_error(
    confidence: Float[np.ndarray, " N"], correct: Bool[np.ndarray, " N"], num_bins: int = NUM_CALIBRATION_BINS
) -> float:
    """Return the mean distance of confidence and accuracy over bins of equal width, weighted by their samples.

    Args:
        confidence: (N,), float, largest class probability, in [0, 1].
        correct: (N,), bool, whether the predicted class is the true one.
        num_bins: bins (0, 1/num_bins], ..., the first one closed.

    Returns:
        0 to 1; 0 where confidence tells the truth.

    Raises:
        ValueError: no sample, the lengths differ, or a confidence lies outside [0, 1] or is not finite.

    Source: Guo et al. 2017, equation 3.
    """
    _require_same_length(confidence, correct)
    values = _within(confidence, 0.0, 1.0, "confidences")
    rows = np.clip(np.ceil(values * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    surplus = np.bincount(rows, values - correct, num_bins)
    return float(np.abs(surplus).sum() / len(values))


def gap_histogram(gaps: Float[np.ndarray, " N"]) -> GapHistogram:
    """Return the histogram of all gaps over 80 equal bins.

    Args:
        gaps: (N,), float, gap units, in [-1, 1]; may be empty.

    Raises:
        ValueError: a gap lies outside [-1, 1] or is not finite.

    Source: ours.
    """
    values = _within(gaps, -1.0, 1.0, "gaps")
    counts, edges = np.histogram(values, bins=NUM_HISTOGRAM_BINS, range=(-1.0, 1.0))
    return GapHistogram(edges.astype(np.float64), counts.astype(np.int64))


def is_dominant(gaps: Float[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
    """Return where one modality dominates: |gap| >= DOMINANT_GAP.

    At 0.5 the leading modality gives the true class at least half of its probability, so it is right (a tie
    apart), and the other is at most as sure as chance between two: a dominant sample is never one where both
    are wrong. Unlike the posterior, the rule means the same in every epoch, split and run, and where there is no
    mixture. A caller who wants the mixture's view passes `posterior >= 0.5` to `correctness` instead.

    Args:
        gaps: (N,), float, gap units, in [-1, 1].

    Source: ours.
    """
    dominant: npt.NDArray[np.bool_] = np.abs(gaps) >= DOMINANT_GAP
    return dominant


def correctness(
    gaps: Float[np.ndarray, " N"], dominant: Bool[np.ndarray, " N"], fused_correct: Bool[np.ndarray, " N"]
) -> Correctness:
    """Return how many samples fall into each of four groups, since a gap near 0 also means both wrong.

    audio_dominant: dominant and gap > 0. visual_dominant: dominant and gap <= 0. similar_right: not dominant and
    the fused prediction is right. similar_wrong: not dominant and it is wrong.

    Args:
        gaps: (N,), float, gap units, in [-1, 1].
        dominant: (N,), bool, see `is_dominant`.
        fused_correct: (N,), bool, whether the fused prediction is the true class.

    Raises:
        ValueError: no sample, or the lengths differ.

    Source: ours.
    """
    _require_same_length(gaps, dominant)
    _require_same_length(gaps, fused_correct)
    audio = dominant & (gaps > 0)
    right = ~dominant & fused_correct
    num_audio, num_dominant, num_right = int(audio.sum()), int(dominant.sum()), int(right.sum())
    return Correctness(
        similar_right=num_right,
        similar_wrong=len(gaps) - num_dominant - num_right,
        audio_dominant=num_audio,
        visual_dominant=num_dominant - num_audio,
    )


def _require_same_length(first: np.ndarray, second: np.ndarray) -> None:
    """Raise ValueError unless both are (N,) with N of at least 1."""
    if first.ndim != 1 or first.shape != second.shape or len(first) == 0:
        raise ValueError(f"expected two arrays (N,) with N >= 1, got {first.shape} and {second.shape}")


def _within(values: np.ndarray, low: float, high: float, name: str) -> npt.NDArray[np.float64]:
    """Return float64 values clipped by no more than rounding, or raise ValueError."""
    precise = np.asarray(values, dtype=np.float64)
    inside = (precise >= low - ROUNDING) & (precise <= high + ROUNDING)
    if not inside.all():
        worst = precise[~inside][0]
        raise ValueError(f"expected {name} in [{low}, {high}], got {(~inside).sum()} outside, the first {worst}")
    return np.clip(precise, low, high)
