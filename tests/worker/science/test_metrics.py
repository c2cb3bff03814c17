import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from worker.science.metrics import (
    MIN_PROBABILITY,
    Correctness,
    accuracy,
    correctness,
    cross_entropy,
    expected_calibration_error,
    gap_histogram,
    is_dominant,
    macro_f1,
)

GAPS = arrays("float64", st.integers(1, 300), elements=st.floats(-1, 1))


def test_accuracy_is_the_share_of_hits() -> None:
    assert accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])) == 0.75


@pytest.mark.parametrize("highest", [2, 5])
def test_macro_f1_equals_scikit_learn_even_where_classes_are_absent(highest: int) -> None:
    generator = np.random.default_rng(0)
    predicted, labels = generator.integers(0, highest, 200), generator.integers(0, 4, 200)
    expected = f1_score(labels, predicted, average="macro", zero_division=0)
    assert macro_f1(predicted, labels, 7) == pytest.approx(expected)


def test_macro_f1_refuses_a_class_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="expected classes 0 to 2, got 0 to 3"):
        macro_f1(np.array([0, 3]), np.array([0, 1]), 3)


def test_calibration_error_equals_a_case_computed_by_hand() -> None:
    # bin of 0.9: two samples, accuracy 1/2, mean confidence 0.9; bin of 0.3: one sample, wrong
    error = expected_calibration_error(np.array([0.9, 0.9, 0.3]), np.array([True, False, False]))
    assert error == pytest.approx((2 * 0.4 + 0.3) / 3)


def test_calibration_error_has_fifteen_bins_closed_above() -> None:
    truth = np.array([True, False])
    apart = expected_calibration_error(np.array([1 / 15, 2 / 15]), truth)
    assert apart == pytest.approx((14 / 15 + 2 / 15) / 2)
    together = expected_calibration_error(np.array([1 / 15, 0.5 / 15]), truth)  # one bin: the errors partly cancel
    assert together == pytest.approx((14 / 15 - 0.5 / 15) / 2)


def test_calibration_error_of_certain_and_right_is_zero() -> None:
    assert expected_calibration_error(np.ones(5), np.ones(5, dtype=bool)) == 0.0
    assert expected_calibration_error(np.zeros(5), np.zeros(5, dtype=bool)) == 0.0


@settings(deadline=None)
@given(GAPS)
def test_histogram_counts_every_gap_once(gaps: np.ndarray) -> None:
    histogram = gap_histogram(gaps)
    assert histogram.edges.shape == (81,)
    assert histogram.counts.shape == (80,)
    assert int(histogram.counts.sum()) == len(gaps)


def test_histogram_runs_from_minus_one_to_one_and_closes_its_last_bin() -> None:
    histogram = gap_histogram(np.array([-1.0, 0.0, 0.9999, 1.0]))
    assert (histogram.edges[0], histogram.edges[40], histogram.edges[80]) == (-1.0, 0.0, 1.0)
    assert (histogram.counts[0], histogram.counts[40], histogram.counts[79]) == (1, 1, 2)


def test_histogram_of_no_gaps_is_empty() -> None:
    assert gap_histogram(np.array([])).counts.sum() == 0


@pytest.mark.parametrize("bad", [1.1, -2.0, np.nan])
def test_histogram_refuses_what_is_no_gap(bad: float) -> None:
    with pytest.raises(ValueError, match=r"expected gaps in \[-1.0, 1.0\], got 1 outside"):
        gap_histogram(np.array([0.0, bad]))


def test_correctness_crosses_gap_and_fused_prediction() -> None:
    gaps = np.array([0.9, 0.5, -0.5, -0.9, -0.8, 0.49, -0.1, 0.0, 0.2])
    fused = np.array([True, False, True, False, True, True, True, False, False])
    assert correctness(gaps, is_dominant(gaps), fused) == Correctness(
        similar_right=2, similar_wrong=2, audio_dominant=2, visual_dominant=3
    )


@settings(deadline=None)
@given(GAPS)
def test_correctness_counts_every_sample_once_and_mirrors_under_a_swap(gaps: np.ndarray) -> None:
    right = np.random.default_rng(len(gaps)).random(len(gaps)) < 0.5
    groups = correctness(gaps, is_dominant(gaps), right)
    mirrored = correctness(-gaps, is_dominant(-gaps), right)
    assert sum(vars(groups).values()) == len(gaps)
    assert (groups.audio_dominant, groups.visual_dominant) == (mirrored.visual_dominant, mirrored.audio_dominant)


def test_a_dominant_sample_is_never_wrong_in_both_modalities() -> None:
    generator = np.random.default_rng(0)
    audio, visual = (generator.dirichlet(np.full(5, 0.3), 5_000) for _ in range(2))
    dominant = is_dominant(audio[:, 0] - visual[:, 0])
    one_right = (audio.argmax(axis=1) == 0) | (visual.argmax(axis=1) == 0)
    assert dominant.any()
    assert one_right[dominant].all()


def test_metrics_of_no_sample_are_refused() -> None:
    with pytest.raises(ValueError, match="N >= 1"):
        accuracy(np.array([], dtype=np.int64), np.array([], dtype=np.int64))


def test_cross_entropy_is_the_mean_of_minus_log_p_and_stays_finite():
    assert cross_entropy(np.array([0.5, 0.25], dtype=np.float32)) == pytest.approx(1.5 * np.log(2))
    assert cross_entropy(np.array([0.0])) == pytest.approx(-np.log(MIN_PROBABILITY))
    with pytest.raises(ValueError, match="at least one"):
        cross_entropy(np.zeros(0))
