import numpy as np
import pytest

from worker.engine.gap_reading import GapReader, gap_of
from worker.science.mixture import MixtureParameters

TRAIN = np.array([0.1, -0.4, np.nan, 0.3, 0.2], np.float32)
NARROW = MixtureParameters(
    np.array([0.5, 0.5]), np.array([0.05, 0.8]), np.array([0.35**2, 0.1**2]), ("balanced", "imbalanced")
)


def test_a_gap_is_placed_among_those_of_training():
    place = GapReader(None, TRAIN).read(0.15).in_training
    assert (place.outside, place.quantile) == (False, 0.5)
    assert (place.min, place.max) == (pytest.approx(-0.4), pytest.approx(0.3))


@pytest.mark.parametrize(("gap", "quantile"), [(-0.41, 0.0), (0.31, 1.0)])
def test_a_gap_beyond_those_of_training_lies_outside(gap, quantile):
    place = GapReader(None, TRAIN).read(gap).in_training
    assert (place.outside, place.quantile) == (True, quantile)


def test_the_widest_training_gaps_lie_inside():
    reader = GapReader(None, TRAIN)
    assert not any(reader.read(float(gap)).in_training.outside for gap in TRAIN[np.isfinite(TRAIN)])


def test_without_training_gaps_nothing_is_said_of_them():
    assert GapReader(None, np.empty(0, np.float32)).read(0.2).in_training is None


def test_a_wide_gap_that_the_mixture_calls_balanced_is_the_opposite_tail():
    reader = GapReader(NARROW, TRAIN)
    opposite, dominant = reader.read(-0.95), reader.read(0.85)
    assert opposite.posterior_imbalanced == pytest.approx(0, abs=1e-6)  # method.md: r(-0.95) = 0
    assert opposite.opposite_tail
    assert dominant.posterior_imbalanced > 0.9
    assert not dominant.opposite_tail
    assert not reader.read(-0.5).opposite_tail  # narrower than the mean of the imbalanced


def test_no_gap_has_a_reason_and_nothing_else():
    reading = GapReader(NARROW, TRAIN).read(None)
    assert (reading.posterior_imbalanced, reading.opposite_tail, reading.in_training) == (None, None, None)
    assert "one modality" in reading.posterior_reason


def test_the_gap_of_probabilities_is_audio_minus_visual():
    audio, visual = np.array([0.2, 0.8], np.float32), np.array([0.7, 0.3], np.float32)
    assert gap_of(audio, visual, 1) == pytest.approx(0.5)
