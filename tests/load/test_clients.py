"""A quick form of `make load`: eight clients for some seconds; nothing fails, and events reach all that follow."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.load.clients import put_under_load, usage_figures
from tests.load.scene import training
from tests.load.timing import Timings, percentile
from tests.stack.driving import Api, tiny_spec

pytestmark = pytest.mark.stack
CLIENTS, SECONDS = 8, 2.5


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([7.0], 0.95) == 7.0
    assert math.isnan(percentile([], 0.5))


def test_a_slow_call_and_an_error_are_told_as_missed() -> None:
    timings = Timings(lags_s=[0.1, 1.5], errors=["GET /runs: 500"])
    timings.calls_ms["list runs"] += [5.0] * 18 + [400.0] * 2
    reached = {figure.what: figure.reached for figure in timings.figures(seconds=10)}
    assert reached["list runs"] is False
    assert reached["errors"] is False
    assert reached["SSE: an event's time to its arrival (2 arrivals)"] is False


def test_clients_at_once_meet_no_error_and_events_reach_all_of_them(stack: Any, api: Api) -> None:
    with training(stack, api, tiny_spec(epochs=2_000, name="quick load")) as scene:
        outcome = put_under_load(scene, CLIENTS, SECONDS, pause_s=0.2)
    timings = outcome.timings
    assert timings.errors == []
    assert len(timings.lags_s) >= CLIENTS
    assert {"list runs", "read a run", "read events", "page samples", "open a sample"} <= set(timings.calls_ms)
    assert timings.scored_s
    assert {"backend", "ui", "server", "worker-score"} <= set(outcome.looks[-1].usages)
    assert usage_figures(outcome.looks)
