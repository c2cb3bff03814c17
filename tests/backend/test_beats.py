"""A healthy job is never taken for dead, whatever clock and Redis do."""

from __future__ import annotations

from typing import Any

from backend.beats import BeatWatch
from worker.contract.record import JobFacts, JobRecord


def record(beat: int, **changes: Any) -> JobRecord:
    fields: dict[str, Any] = {
        "kind": "run", "id": "r", "state": "running", "token": 5, "attempt": 1, "deaths": 0, "created_ms": 0,
    }  # fmt: skip
    return JobRecord(beat=beat, facts=JobFacts(), **{**fields, **changes})


def test_beat_that_stands_still_is_stale_after_the_limit_and_lost_after_half() -> None:
    watch = BeatWatch(6.0)
    still = record(1)
    answers = [(bool(watch.look([still], now)), watch.is_lost(still)) for now in range(8)]
    assert answers == [(False, False)] * 3 + [(False, True)] * 3 + [(True, True)] * 2


def test_beat_that_moves_is_never_stale() -> None:
    watch = BeatWatch(6.0)
    assert not any(watch.look([record(beat)], now=beat * 1.0) for beat in range(30))


def test_outage_of_redis_counts_as_one_short_step() -> None:
    watch = BeatWatch(6.0)
    watch.look([record(1)], now=0.0)
    assert watch.look([record(1)], now=3_600.0) == []
    assert not watch.is_lost(record(1))


def test_new_claim_and_ended_jobs_start_afresh() -> None:
    watch = BeatWatch(2.0)
    for now in (0.0, 1.0):
        watch.look([record(1)], now)
    assert watch.look([record(1, token=6)], 2.0) == []
    assert watch.look([record(1, token=6, state="finished")], 3.0) == []
    assert watch.look([record(1, token=6, state="queued")], 9.0) == []
    assert not watch.is_lost(record(1, token=6, state="queued"))


def test_cancelling_job_is_reaped_but_not_shown_as_lost() -> None:
    watch = BeatWatch(2.0)
    stale = [watch.look([record(1, state="cancelling")], float(now)) for now in range(4)]
    assert stale[-1]
    assert not watch.is_lost(record(1, state="cancelling"))
