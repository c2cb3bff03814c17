"""Supervised processes: restarted when they die, gone when we are gone, stopped in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from backend.stack import processes, stopping
from backend.stack.probes import Probe
from backend.stack.processes import Supervised
from tests.stack.driving import wait_for

SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time\n"
    "for number in (signal.SIGTERM, signal.SIGQUIT): signal.signal(number, signal.SIG_IGN)\n"
    "print('ready', flush=True); time.sleep(60)"
)
Maker = Callable[..., Supervised]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Maker]:
    made = []

    def supervised(program: str, name: str = "backend", probe: Probe = lambda _: None) -> Supervised:
        entry = Supervised(name, ["python", "-c", program], dict(os.environ), tmp_path, tmp_path / f"{name}.log", probe)
        made.append(entry)
        return entry

    yield supervised
    for entry in made:
        if entry.process is not None:
            entry.process.kill()
            entry.process.wait()


def step_until(entry: Supervised, met: Callable[[], bool], timeout_s: float = 10.0) -> None:
    def step() -> bool:
        entry.step()
        return met()

    wait_for(step, f"{entry.name} {entry.health}", timeout_s)


def test_process_is_healthy_once_its_probe_says_so_and_runs_in_its_own_session(make: Maker) -> None:
    answers: list[str | None] = ["no answer yet", "no answer yet", None]
    entry = make(SLEEP, probe=lambda _: answers.pop(0))
    entry.step()
    assert entry.health == "starting"
    step_until(entry, lambda: entry.health == "healthy")
    assert entry.pid is not None
    assert os.getsid(entry.pid) == entry.pid


def test_killed_process_is_started_again(make: Maker) -> None:
    entry = make(SLEEP)
    step_until(entry, lambda: entry.health == "healthy")
    first = entry.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    step_until(entry, lambda: entry.health == "restarting")
    assert "killed by SIGKILL" in entry.reason
    step_until(entry, lambda: entry.health == "healthy")
    assert entry.pid != first
    assert entry.restarts == 1


def test_pauses_grow_while_it_keeps_dying_and_its_last_words_are_kept(make: Maker) -> None:
    entry = make("print('no such device'); raise SystemExit(3)", probe=lambda _: "no answer yet")
    step_until(entry, lambda: entry.exits_before_healthy == 1)
    assert "ended with status 3; starting again in 0.5 s" in entry.reason
    step_until(entry, lambda: entry.exits_before_healthy == 2)
    assert "starting again in 1.0 s" in entry.reason
    assert entry.last_words()[-1] == "no such device"


def test_process_that_stays_silent_is_killed_but_a_worker_is_not(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SILENT_S", 0.2)
    monkeypatch.setattr(processes, "SILENT_PROBES", 1)
    monkeypatch.setattr(processes, "PROBE_HEALTHY_S", 0.05)
    for name, patient in (("backend", False), ("worker-train", True)):
        healthy = [None, *["no answer"] * 100]
        entry = make(SLEEP, name, probe=lambda _, answers=healthy: answers.pop(0))
        entry.restart_when_silent = not patient
        step_until(entry, lambda entry=entry: entry.health == "unhealthy")
        until = time.monotonic() + 1.0
        while time.monotonic() < until and entry.health == "unhealthy":
            entry.step()
            time.sleep(0.05)
        assert entry.health == ("unhealthy" if patient else "restarting")


def test_child_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import os, time; from pathlib import Path; from backend.stack.processes import spawn\n"
        f"child = spawn(['sleep', '60'], dict(os.environ), Path('/'), Path({str(tmp_path / 'log')!r}))\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child dies", 5)


def test_stop_ends_pages_and_workers_before_the_backend_and_the_backend_before_the_server(make: Maker) -> None:
    table = [make(SLEEP, name) for name in ("server", "backend", "ui", "worker-train", "worker-score")]
    for entry in table:
        entry.start()
    ended: list[str] = []

    def note() -> None:
        ended.extend(entry.name for entry in table if entry.health == "stopped" and entry.name not in ended)

    stopping.stop_all(table, note, lambda: False)
    note()
    assert set(ended[:3]) == {"ui", "worker-train", "worker-score"}
    assert ended[3:] == ["backend", "server"]


def test_stubborn_worker_is_killed_within_the_time_of_its_phase(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_WORKERS", ((0.0, signal.SIGTERM), (0.2, signal.SIGQUIT), (0.4, signal.SIGKILL)))
    worker = make(STUBBORN, "worker-train")
    worker.start()
    wait_for(lambda: worker.log.read_text().startswith("ready"), "the worker is there")
    begin = time.monotonic()
    stopping.stop_all([worker], lambda: None, lambda: False)
    assert 0.4 <= time.monotonic() - begin < 4.0


def test_all_phases_together_stay_under_ten_seconds() -> None:
    longest = [max(due for due, _ in steps) for steps in (stopping._WORKERS, stopping._BACKEND, stopping._SERVER)]
    assert sum(longest) <= 9.5


def test_second_request_kills_at_once(make: Maker) -> None:
    worker = make(STUBBORN, "worker-train")
    worker.start()
    wait_for(lambda: worker.log.read_text().startswith("ready"), "the worker is there")
    begin = time.monotonic()
    stopping.stop_all([worker], lambda: None, lambda: True)
    assert time.monotonic() - begin < 3.0


def test_orphans_are_adopted_and_ended() -> None:
    program = (
        "import subprocess, sys, time; from backend.stack import processes, stopping\n"
        "processes.adopt_orphans(); stopping.OrphanWatch.GRACE_S = 0.3; watch = stopping.OrphanWatch()\n"
        'leave = \'import subprocess; subprocess.Popen(["sleep", "60"])\'\n'
        "subprocess.run([sys.executable, '-c', leave]); until = time.monotonic() + 5; killed = []\n"
        "while not killed and time.monotonic() < until: killed = watch.step(set()); time.sleep(0.05)\n"
        "time.sleep(0.1); watch.step(set()); import psutil; print(killed, psutil.Process().children())"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout.startswith("['process ")
    assert result.stdout.endswith("] []\n")
