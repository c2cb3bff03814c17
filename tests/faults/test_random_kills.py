"""A quick part of `make faults`: some of its runs, the same ones each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.random_kills import running, series
from tests.faults.schedule import DEEDS, VICTIMS, faults

pytestmark = pytest.mark.stack


def test_the_same_seed_draws_the_same_faults_and_a_hundred_runs_meet_them_all() -> None:
    drawn = [faults(0, number) for number in range(100)]
    assert drawn == [faults(0, number) for number in range(100)]
    met = {(fault.victim, fault.deed) for one in drawn for fault in one}
    assert {victim for victim, _ in met} == set(VICTIMS)
    assert {deed for _, deed in met} == {*DEEDS, "empty"}


@pytest.mark.timeout(400)
def test_runs_under_random_kills_end_with_the_numbers_of_an_undisturbed_one(tmp_path: Path) -> None:
    told: list[str] = []
    with running(tmp_path) as stack:
        outcome = series(stack, count=3, seed=0, tell=told.append)
    assert outcome.failures == [], "\n".join(told)
    assert outcome.ended == 3
