"""`make faults`: runs under random kills of a real stack; each must end with the numbers of an undisturbed one.

Prints each run's schedule. A failure is replayed with --seed and --first: `python -m tests.faults.random_kills --seed 0
--first 17 --count 1`.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from backend.stack.server import remembered
from tests.backend.stack.running import RunningStack, start_stack, stop_stack, wait_for_stack
from tests.faults.schedule import STOP_S, Fault, faults
from tests.stack.driving import Api, child_of, comparable, stack_process, tiny_spec, wait_for
from worker.contract.layout import Home

SPEC = tiny_spec(epochs=14)
END_S = 150.0
TRUE_WITHIN_S = 15.0


@dataclass
class Outcome:
    """What became of a series."""

    ended: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    attempts: int = 0


@contextlib.contextmanager
def running(folder: Path) -> Iterator[RunningStack]:
    """Yields a stack of its own."""
    process = start_stack(folder / "home")
    try:
        yield wait_for_stack(folder / "home", process)
    finally:
        stop_stack(process)


def series(stack: RunningStack, count: int, seed: int, first: int = 0, tell: Any = print) -> Outcome:
    """Runs a series and returns what became of it.

    Args:
        stack: to disturb.
        count: runs.
        seed: of the faults.
        first: number of the first run.
        tell: called with a line for each run.
    """
    api, outcome = Api(stack.api_url), Outcome()
    expected = comparable(api.events(_finished(api, api.launch(SPEC))))
    for number in range(first, first + count):
        planned = faults(seed, number)
        begun = time.monotonic()
        try:
            run_id = api.launch(SPEC)
            for fault in planned:
                time.sleep(fault.after_s)
                commit(fault, stack, run_id)
            outcome.attempts += _check(api, stack, run_id, expected)
            outcome.ended += 1
            verdict = "equal"
        except Exception as error:  # the series goes on; what was found is told at its end
            verdict = f"{type(error).__name__}: {str(error)[:600]}"
            outcome.failures.append(f"seed {seed}, run {number}: {verdict}")
            with contextlib.suppress(Exception):
                wait_for(lambda: _answers(api), "the stack answers again", 60)
        outcome.seconds.append(time.monotonic() - begun)
        plan = "; ".join(map(str, planned))
        tell(f"{number:4d}  {outcome.seconds[-1]:6.1f} s  {verdict.splitlines()[0]}  [{plan}]")
    api.close()
    return outcome


def commit(fault: Fault, stack: RunningStack, run_id: str) -> None:
    """Does what a fault says; a victim that is not there (yet, or any more) is left out."""
    if fault.deed == "empty":
        server = remembered(stack.home)
        assert server is not None
        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(server.url) as client:
            client.flushall()
        return
    try:
        pid = _pid(fault.victim, stack, run_id)
        if pid is None:
            return
        if fault.deed == "stop":
            os.kill(pid, signal.SIGSTOP)
            time.sleep(STOP_S)
            os.kill(pid, signal.SIGCONT)
        else:
            os.kill(pid, signal.SIGKILL if fault.deed == "kill" else signal.SIGTERM)
    except (ProcessLookupError, psutil.NoSuchProcess, KeyError, FileNotFoundError, TypeError, ValueError):
        return


def _pid(victim: str, stack: RunningStack, run_id: str) -> int | None:
    if victim == "child":
        child = child_of(run_id)
        return child.pid if child else None
    if victim != "supervisor":
        return stack_process(stack.home, victim)
    main = psutil.Process(stack_process(stack.home, "worker-train"))
    pools = [one for one in main.children() if "resource_tracker" not in " ".join(one.cmdline())]
    return pools[0].pid if pools else None


def _check(api: Api, stack: RunningStack, run_id: str, expected: list[dict[str, Any]]) -> int:
    """Passes a run that ended as if nothing had happened; returns its attempts."""
    wait_for(lambda: _answers(api), "the stack answers again", 60)
    untrue_since: float | None = None
    deadline = time.monotonic() + END_S
    while True:
        assert time.monotonic() < deadline, f"not finished within {END_S:.0f} s"
        try:
            run = api.get(f"/runs/{run_id}")
        except Exception:  # a part of the stack is being started again
            time.sleep(0.2)
            continue
        assert run["state"] not in ("failed", "cancelled"), run["error"]
        if run["state"] == "finished":
            break
        # "running" means a process that works on it; it may be between two for a while.
        is_true = run["state"] != "running" or child_of(run_id) is not None
        untrue_since = None if is_true else untrue_since or time.monotonic()
        assert untrue_since is None or time.monotonic() - untrue_since < TRUE_WITHIN_S, "shown as running by nobody"
        time.sleep(0.2)
    events = wait_for(lambda: _events(api, run_id), "the events can be read", 30)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), "events with a hole"
    assert comparable(events) == expected, "other numbers than the undisturbed run"
    folder = Home(stack.home).run(run_id)
    wait_for(lambda: child_of(run_id) is None, "no child is left", 10)
    partial = [path.name for path in folder.path.rglob("*partial*")]
    assert not partial, f"left over: {partial}"
    with folder.lock.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody holds it
    return int(run["attempt"])


def _finished(api: Api, run_id: str) -> str:
    api.wait_for_state(run_id, {"finished"})
    return run_id


def _answers(api: Api) -> bool:
    try:
        return bool(api.http.get("/health/ready").status_code == 200)
    except Exception:  # any failure to answer means: not yet
        return False


def _events(api: Api, run_id: str) -> list[dict[str, Any]]:
    try:
        return api.events(run_id)
    except Exception:  # likewise
        return []


def main() -> None:
    """Prints a line for each run, then the figures; exit status 1 when a run did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()

    def tell(line: str) -> None:
        print(line, flush=True)  # noqa: T201

    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as stack:
        outcome = series(stack, arguments.count, arguments.seed, arguments.first, tell)
    tell(f"{outcome.ended} of {arguments.count} ended equal to the undisturbed run, in {outcome.attempts} attempts")
    for failure in outcome.failures:
        tell(failure)
    sys.exit(1 if outcome.failures else 0)


if __name__ == "__main__":
    main()
