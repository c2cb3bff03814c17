"""A backup that is taken while a run trains gives a home on which that run goes on to the same numbers."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.backend.stack.running import clean_environment, start_stack, stop_stack, wait_for_stack
from tests.stack.driving import Api, comparable, tiny_spec

pytestmark = pytest.mark.stack


def gapscope(*arguments: str | Path) -> None:
    command = [Path(sys.executable).parent / "gapscope", *arguments]
    subprocess.run(command, env=clean_environment(), check=True, capture_output=True, timeout=60)


def test_a_run_that_was_backed_up_in_mid_training_goes_on_in_the_restored_home(
    stack: Any, api: Api, tmp_path: Path
) -> None:
    run = api.launch(tiny_spec(epochs=16, name="backed up"))
    api.wait_for_epoch(run, 3)
    gapscope("backup", tmp_path / "copy.tar", "--home", stack.home)
    assert api.get(f"/runs/{run}")["state"] == "running"  # the copy was taken in the middle
    api.wait_for_state(run, {"finished"})
    expected = comparable(api.events(run))
    gapscope("restore", tmp_path / "copy.tar", "--home", tmp_path / "again")
    process = start_stack(tmp_path / "again")
    try:
        with closing(Api(wait_for_stack(tmp_path / "again", process).api_url)) as other:
            other.wait_for_state(run, {"finished"})
            events = other.events(run)
    finally:
        stop_stack(process)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert comparable(events) == expected
    assert "run_resumed" in [event["type"] for event in events]
