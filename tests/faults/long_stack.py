"""A part of `make faults`: a real stack under a stepping clock, and one with two workers of which one stands still."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.backend.stack.running import RunningStack, start_stack, stop_stack, wait_for_stack
from tests.faults.stepped_clock import SteppedClock
from tests.stack.driving import Api, child_of, comparable, tiny_spec, wait_for

DAY_S = 86_400
SPEC = tiny_spec(epochs=14)


@contextmanager
def running(home: Path, *options: str, **environment: str) -> Iterator[tuple[RunningStack, Api]]:
    process = start_stack(home, *options, **environment)
    try:
        stack = wait_for_stack(home, process)
        with closing(Api(stack.api_url)) as api:
            yield stack, api
    finally:
        if process.poll() is None:
            stop_stack(process)


def numbers(api: Api, run: str) -> list[dict[str, Any]]:
    events = api.events(run)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return comparable(events)


@pytest.mark.timeout(600)
def test_a_clock_that_steps_by_a_day_costs_no_run_its_lease_its_numbers_or_its_end(tmp_path: Path) -> None:
    clock = SteppedClock(tmp_path)
    said = subprocess.run(["date", "+%s"], env=os.environ | clock.environment, capture_output=True, check=True).stdout
    assert abs(int(said) - time.time()) < 5
    with running(tmp_path / "home", **clock.environment) as (_, api):
        undisturbed = api.launch(SPEC)
        api.wait_for_state(undisturbed, {"finished"})
        for offset in (DAY_S, 0, -DAY_S):
            run = api.launch(SPEC)
            api.wait_for_epoch(run, 2)
            clock.step(offset)
            finished = api.wait_for_state(run, {"finished"})
            assert finished["attempt"] == 1
            assert numbers(api, run) == numbers(api, undisturbed)
            times = [datetime.fromisoformat(event["time"]) for event in api.events(run)]
            assert abs((times[-1] - times[0]).total_seconds()) > 0.9 * DAY_S  # the clock did step
        run = api.launch(SPEC)  # and two days back on what was claimed a day ahead, after a kill
        api.wait_for_epoch(run, 2)
        child = child_of(run)
        assert child is not None
        clock.step(-3 * DAY_S)
        child.kill()
        assert api.wait_for_state(run, {"finished"})["attempt"] == 2
        assert numbers(api, run) == numbers(api, undisturbed)
        assert api.http.get("/health/ready").status_code == 200


@pytest.mark.timeout(600)
def test_a_worker_that_stands_still_loses_its_run_to_another_and_disturbs_it_no_more(tmp_path: Path) -> None:
    with running(tmp_path / "home", "--train-workers", "2") as (_, api):
        undisturbed = api.launch(SPEC)
        api.wait_for_state(undisturbed, {"finished"})
        run = api.launch(SPEC)
        api.wait_for_epoch(run, 2)
        child = child_of(run)
        assert child is not None
        supervisor = psutil.Process(child.ppid())
        still = (supervisor, child)
        for process in still:
            process.send_signal(signal.SIGSTOP)
        try:
            wait_for(lambda: api.get(f"/runs/{run}")["attempt"] == 2, "the run is given away", 20)
            wait_for(lambda: (other := child_of(run)) is not None and other.pid != child.pid, "it is trained on", 60)
        finally:
            for process in still:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)
        assert api.wait_for_state(run, {"finished"})["attempt"] == 2
        assert numbers(api, run) == numbers(api, undisturbed)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
        wait_for(lambda: child_of(run) is None, "no child is left", 10)
        after = api.launch(SPEC)  # whoever takes it: both workers work
        assert api.wait_for_state(after, {"finished"})["attempt"] == 1


@pytest.mark.timeout(200)
def test_of_two_stacks_started_at_once_on_a_home_one_serves_and_one_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    processes = [start_stack(home), start_stack(home)]
    try:
        wait_for(lambda: any(process.poll() is not None for process in processes), "one is refused", 30)
        [refused] = [process for process in processes if process.poll() is not None]
        [serving] = [process for process in processes if process is not refused]
        assert refused.returncode == 1
        stack = wait_for_stack(home, serving)
        assert f"process {serving.pid} serves it already" in home.with_name("up.log").read_text()
        with closing(Api(stack.api_url)) as api:
            assert api.http.get("/health/ready").status_code == 200
    finally:
        for process in processes:
            if process.poll() is None:
                stop_stack(process)
    assert not (home / "stack.json").exists()
