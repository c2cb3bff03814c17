"""The small-sample statistics against SciPy and hand-computed cases."""

from __future__ import annotations

import math

import pytest
from scipy import special, stats

from frontend.leaderboard.statistics import (
    holm,
    incomplete_beta,
    mean_and_deviation,
    paired_difference,
    t_quantile,
    two_sided_p,
)


@pytest.mark.parametrize("a", [0.5, 1.0, 2.5, 40.0])
@pytest.mark.parametrize("b", [0.5, 3.0, 100.0])
@pytest.mark.parametrize("x", [0.0, 1e-9, 0.03, 0.5, 0.97, 1.0])
def test_incomplete_beta_is_that_of_scipy(a: float, b: float, x: float) -> None:
    assert incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("arguments", [(0.0, 1.0, 0.5), (1.0, -1.0, 0.5), (1.0, 1.0, 1.1)])
def test_incomplete_beta_refuses_what_it_is_not_defined_for(arguments: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="expected a, b > 0"):
        incomplete_beta(*arguments)


@pytest.mark.parametrize("degrees", [1, 2, 4, 9, 200])
def test_student_t_is_that_of_scipy(degrees: int) -> None:
    for t in (0.0, 0.3, -2.0, 12.0):
        assert two_sided_p(t, degrees) == pytest.approx(2 * stats.t.sf(abs(t), degrees), rel=1e-9)
    for confidence in (0.5, 0.95, 0.999):
        assert t_quantile(confidence, degrees) == pytest.approx(stats.t.ppf((1 + confidence) / 2, degrees), rel=1e-9)


@pytest.mark.parametrize("arguments", [(1.0, 3), (0.0, 3), (0.95, 0)])
def test_quantile_refuses_what_it_is_not_defined_for(arguments: tuple[float, int]) -> None:
    with pytest.raises(ValueError, match="expected confidence"):
        t_quantile(*arguments)


def test_paired_difference_is_that_of_scipy_and_takes_shared_pairs_alone() -> None:
    joint = {0: 0.908, 1: 0.932, 2: 0.933, 3: 0.938, 4: 0.928, 5: 0.5}
    other = {4: 0.972, 3: 0.958, 2: 0.958, 1: 0.977, 0: 0.960, 9: 0.1}
    found = paired_difference(joint, other)
    seeds = range(5)
    expected = stats.ttest_rel([other[seed] for seed in seeds], [joint[seed] for seed in seeds])
    interval = expected.confidence_interval(0.95)
    assert found is not None
    assert found.num_pairs == 5
    assert found.mean == pytest.approx(0.0372)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_value == pytest.approx(expected.pvalue)


def test_few_or_equal_pairs_claim_nothing() -> None:
    assert paired_difference({0: 1.0}, {1: 2.0}) is None
    single = paired_difference({0: 1.0}, {0: 3.0})
    assert single is not None
    assert (single.mean, single.low, single.high, single.p_value) == (2.0, None, None, None)
    equal = paired_difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    assert equal is not None
    assert (equal.low, equal.high, equal.p_value) == (0.0, 0.0, 1.0)
    constant = paired_difference({0: 1.0, 1: 2.0}, {0: 2.0, 1: 3.0})
    assert constant is not None
    assert constant.p_value == 0.0


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    # Sorted 0.01, 0.03, 0.04: times 3, 2, 1; the last is held up by the one before it.
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_mean_and_deviation_need_one_and_two_values() -> None:
    assert mean_and_deviation([]) == (None, None)
    assert mean_and_deviation([2.0]) == (2.0, None)
    assert mean_and_deviation([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2)))
