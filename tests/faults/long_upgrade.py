"""A part of `make faults`: today's worker takes up a run that an earlier version had to leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.long_children import Trainings
from tests.faults.old_home import runs_by_name, unpack
from worker.contract.events import EpochFinished
from worker.contract.journal import read_events
from worker.contract.record import JobFacts


def test_a_run_of_the_previous_format_is_resumed_to_its_end(
    tmp_path: Path, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAPSCOPE_REDIS_URL", valkey_url)
    home: Any = unpack(tmp_path)
    runs = runs_by_name(home)
    before = (home.run(runs["unfinished"]).events).read_bytes()
    trainings = Trainings(home, valkey_url)
    trainings.ledger.restore("run", runs["unfinished"], state="queued", created_ms=1, facts=JobFacts())
    dataset = next(home.datasets.iterdir()).name
    trainings.ledger.restore("dataset", dataset, state="finished", created_ms=1, facts=JobFacts())
    assert trainings.attempt(runs["unfinished"]).state == "finished"
    after = home.run(runs["unfinished"]).events
    assert after.read_bytes().startswith(before)
    resumed, undisturbed = (
        [event.validation.accuracy.fused for event in read_events(path) if isinstance(event, EpochFinished)]
        for path in (after, home.run(runs["undisturbed"]).events)
    )
    assert len(resumed) == len(undisturbed) == 6
    assert resumed[:3] == undisturbed[:3]
