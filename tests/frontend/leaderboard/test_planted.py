"""Planted corruption: AUC, reliability, groups."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from frontend.leaderboard.planted import PlantedSample, auc, calibration_error, planted_report, pooled, reliability


def test_auc_is_that_of_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(3)
    positive, negative = rng.integers(2, 9, 40).tolist(), rng.integers(0, 7, 60).tolist()
    expected = roc_auc_score([1] * 40 + [0] * 60, positive + negative)
    assert auc(positive, negative) == pytest.approx(expected)
    assert auc([1.0], []) is None
    assert auc([2.0, 3.0], [1.0]) == 1.0


def test_reliability_bins_hold_every_sample_once_the_ends_included() -> None:
    bins = reliability([0.0, 0.1, 0.2, 0.55, 1.0], [False, True, False, True, True], num_bins=5)
    assert [one.num_samples for one in bins] == [2, 1, 1, 0, 1]
    assert bins[0].mean_posterior == pytest.approx(0.05)
    assert bins[0].share_corrupted == pytest.approx(0.5)
    assert bins[3].mean_posterior is None
    # (2 * 0.45 + 1 * 0.2 + 1 * 0.45 + 1 * 0) / 5
    assert calibration_error(bins) == pytest.approx(0.31)
    assert calibration_error(()) is None


def test_report_has_the_sign_of_the_gap_right() -> None:
    samples = [
        PlantedSample("none", 0.0, 0.2),
        PlantedSample("none", -0.1, 0.3),
        PlantedSample("audio", -0.9, 0.9),
        PlantedSample("visual", 0.8, 0.7),
    ]
    report = planted_report(samples)
    assert report is not None
    assert (report.num_clean, report.num_audio, report.num_visual) == (2, 1, 1)
    assert (report.auc_audio, report.auc_visual) == (1.0, 1.0)
    assert report.mean_abs_gap == pytest.approx({"none": 0.05, "audio": 0.9, "visual": 0.8})
    assert report.mean_posterior == pytest.approx({"none": 0.25, "audio": 0.9, "visual": 0.7})
    swapped = planted_report(
        PlantedSample({"audio": "visual", "visual": "audio"}.get(one.corrupted, "none"), one.gap, one.posterior)
        for one in samples
    )
    assert swapped is not None
    assert (swapped.auc_audio, swapped.auc_visual) == (0.0, 0.0)


def test_data_without_corruption_and_runs_without_gaps_have_no_figures() -> None:
    assert planted_report([PlantedSample("none", 0.1, 0.2)]) is None
    solo = planted_report([PlantedSample("none", None, None), PlantedSample("audio", None, None)])
    assert solo is not None
    assert (solo.auc_audio, solo.auc_visual, solo.calibration_error, solo.bins) == (None, None, None, ())


def test_seeds_are_pooled_by_their_clips() -> None:
    first = planted_report([PlantedSample("none", 0.0, 0.1), PlantedSample("audio", -1.0, 0.9)])
    second = planted_report([PlantedSample("visual", 1.0, 0.1), PlantedSample("visual", 1.0, 0.1)])
    assert first is not None
    assert second is not None
    bins = pooled([first, second])
    assert bins[0].num_samples == 3
    assert bins[0].share_corrupted == pytest.approx(2 / 3)
    assert pooled([]) == ()
