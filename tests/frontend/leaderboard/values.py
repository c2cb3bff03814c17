"""Entries and runs of a leaderboard as tests need them."""

from __future__ import annotations

from typing import Any

from frontend.leaderboard.figures import FIGURES, Cost, Entry
from tests.frontend.client.values import event_value, run_value
from worker.contract.resources import Run

RESULT: dict[str, Any] = event_value("run_finished", 5)["result"]


def finished_run(run_id: str, **changes: Any) -> dict[str, Any]:
    """Returns a finished run as the API shows it."""
    return run_value("finished", id=run_id, result=RESULT, **changes)


def run_of(run_id: str, state: str = "finished", **changes: Any) -> Run:
    """Returns a run as the client gives it."""
    return Run.model_validate(run_value(state, id=run_id, **changes))


def entry(method: str, seed: int, fused: float, **changes: Any) -> Entry:
    """Returns an entry with one figure of interest; the others are 0.5."""
    values: dict[str, Any] = {
        "run_id": f"run-{method}-{seed}",
        "split": "test",
        "num_samples": 600,
        "chosen_by": "validation",
        "metrics": {**dict.fromkeys(FIGURES, 0.5), "fused": fused},
        "cost": Cost(seconds=10.0 + seed, backward_passes=100.0),
    }
    return Entry(method, seed, **(values | changes))
