"""Growth is told from noise, from the rise at the start, and from a fall."""

from __future__ import annotations

import numpy as np
import pytest

from tests.load.growth import growth

TIMES = [float(at) for at in range(0, 1_800, 10)]


def test_a_leak_is_seen_with_its_slope() -> None:
    values = [100 + 36 * at / 3_600 for at in TIMES]
    found = growth(TIMES, values, settle_s=300)
    assert found.per_hour == pytest.approx(36)
    assert found.first == pytest.approx(104.5, abs=0.1)
    assert found.ratio == pytest.approx(0.115, abs=0.002)


def test_noise_and_a_rise_at_the_start_are_no_growth() -> None:
    random = np.random.default_rng(0)
    values = [min(100.0, 50 + at / 4) + random.normal(0, 2) for at in TIMES]
    assert abs(growth(TIMES, values, settle_s=300).ratio) < 0.01


def test_what_falls_has_a_negative_growth() -> None:
    assert growth(TIMES, [200 - at / 30 for at in TIMES], settle_s=300).ratio < -0.1


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="Watch for longer"):
        growth([0, 10, 20], [1, 1, 1], settle_s=0)
