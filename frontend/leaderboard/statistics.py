"""Small-sample statistics: Student's t, paired differences with their interval, Holm's correction.

The standard library alone: the command line must not load SciPy. This module must not know runs or methods.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K")
CONFIDENCE = 0.95
_TINY = 1e-300
_PRECISION = 1e-15
_MOST_TERMS = 500
_WIDEST = 1e9
"""Largest |t| that the quantile's search considers."""


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Returns the regularised incomplete beta function I_x(a, b).

    Args:
        a: above 0.
        b: above 0.
        x: in [0, 1].

    Raises:
        ValueError: an argument is out of its range.

    Source: the continued fraction of Abramowitz & Stegun 26.5.8, by Lentz's method.
    """
    if a <= 0 or b <= 0 or not 0 <= x <= 1:
        raise ValueError(f"expected a, b > 0 and x in [0, 1], got a={a}, b={b}, x={x}")
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side alone
        return 1.0 - incomplete_beta(b, a, 1.0 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    return front * _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    def bounded(value: float) -> float:
        return value if abs(value) > _TINY else _TINY

    numerator, denominator = 1.0, 1.0 / bounded(1.0 - (a + b) * x / (a + 1))
    value = denominator
    for m in range(1, _MOST_TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            denominator = 1.0 / bounded(1.0 + term * denominator)
            numerator = bounded(1.0 + term / numerator)
            factor = numerator * denominator
            value *= factor
        if abs(factor - 1.0) < _PRECISION:
            break
    return value


def two_sided_p(t: float, degrees: int) -> float:
    """Returns P(|T| >= |t|) for Student's T.

    Args:
        t: the statistic; may be infinite.
        degrees: of freedom, at least 1.
    """
    if math.isinf(t):
        return 0.0
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def t_quantile(confidence: float, degrees: int) -> float:
    """Returns the t with P(|T| < t) = confidence for Student's T.

    Args:
        confidence: in (0, 1).
        degrees: of freedom, at least 1.

    Raises:
        ValueError: an argument is out of its range.
    """
    if not 0 < confidence < 1 or degrees < 1:
        raise ValueError(f"expected confidence in (0, 1) and degrees >= 1, got {confidence} and {degrees}")
    low, high = 0.0, _WIDEST
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        if two_sided_p(middle, degrees) > 1 - confidence:
            low = middle
        else:
            high = middle


@dataclass(frozen=True)
class PairedDifference:
    """Mean of the paired differences; interval and p-value are None for fewer than two pairs.

    Attributes:
        num_pairs: n.
        mean: of the differences.
        low: end of the t interval.
        high: its other end.
        p_value: two-sided, of a mean of 0.
    """

    num_pairs: int
    mean: float
    low: float | None
    high: float | None
    p_value: float | None


def paired_difference(
    first: Mapping[K, float], second: Mapping[K, float], confidence: float = CONFIDENCE
) -> PairedDifference | None:
    """Returns second - first over the pairs that both have, or None where they share none.

    Args:
        first: pair (a seed) -> value of the baseline.
        second: pair -> value of what is compared with it.
        confidence: of the interval.

    Source: Student 1908, the paired t test.
    """
    differences = [second[pair] - first[pair] for pair in first if pair in second]
    if not differences:
        return None
    number, mean = len(differences), statistics.fmean(differences)
    if number < 2:
        return PairedDifference(number, mean, None, None, None)
    error = statistics.stdev(differences) / math.sqrt(number)
    half = t_quantile(confidence, number - 1) * error
    t = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    return PairedDifference(number, mean, mean - half, mean + half, two_sided_p(t, number - 1))


def holm(p_values: Mapping[K, float]) -> dict[K, float]:
    """Returns the p-values adjusted for the family that they make, in the order given.

    Args:
        p_values: hypothesis -> p-value; the family is all of them.

    Source: Holm 1979.
    """
    size, largest = len(p_values), 0.0
    adjusted: dict[K, float] = {}
    for rank, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (size - rank) * p_value))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Returns mean and sample standard deviation; None where there are too few values."""
    return (
        statistics.fmean(values) if values else None,
        statistics.stdev(values) if len(values) > 1 else None,
    )
