"""Ending the stack: in order, within ten seconds, leaving no process behind."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import psutil

from backend.stack.processes import Supervised

Steps = tuple[tuple[float, signal.Signals], ...]
"""Seconds after the begin of a phase, and the signal that is due then."""

# Workers: SIGTERM lets the job in hand write a checkpoint and go back to its queue (6 s at most), SIGQUIT makes Celery
# leave at once. All phases together stay under ten seconds.
_WORKERS: Steps = ((0.0, signal.SIGTERM), (6.2, signal.SIGQUIT), (7.0, signal.SIGKILL))
_UI: Steps = ((0.0, signal.SIGTERM), (2.0, signal.SIGKILL))
_BACKEND: Steps = ((0.0, signal.SIGTERM), (1.5, signal.SIGKILL))
# Valkey takes SIGTERM as SHUTDOWN: it syncs its file first.
_SERVER: Steps = ((0.0, signal.SIGTERM), (1.0, signal.SIGKILL))
_TICK_S = 0.05


def stop_all(table: list[Supervised], on_tick: Callable[[], None], hurry: Callable[[], bool]) -> None:
    """Stops everything: pages and workers, then the backend, then the server.

    Args:
        table: the processes.
        on_tick: called often, to show how it goes.
        hurry: True once the user asked a second time: everything is killed at once.
    """
    front = [(entry, _UI) for entry in table if entry.name == "ui"]
    front += [(entry, _WORKERS) for entry in table if entry.name.startswith("worker-")]
    for phase in (front, _only(table, "backend", _BACKEND), _only(table, "server", _SERVER)):
        _stop_phase(phase, on_tick, hurry)


def _only(table: list[Supervised], name: str, steps: Steps) -> list[tuple[Supervised, Steps]]:
    return [(entry, steps) for entry in table if entry.name == name]


def _stop_phase(phase: list[tuple[Supervised, Steps]], on_tick: Callable[[], None], hurry: Callable[[], bool]) -> None:
    begin = time.monotonic()
    due = {entry.name: list(steps) for entry, steps in phase}
    for entry, _ in phase:
        entry.health, entry.reason = "stopping", ""
    while True:
        living = [entry for entry, _ in phase if not entry.has_ended()]
        for entry in living:
            steps = due[entry.name]
            if hurry():
                entry.signal(signal.SIGKILL)
            elif steps and time.monotonic() - begin >= steps[0][0]:
                entry.signal(steps.pop(0)[1])
        on_tick()
        if not living:
            return
        time.sleep(_TICK_S)


def described(process: psutil.Process) -> str:
    """Returns a process's id and the begin of its command line."""
    return f"process {process.pid} ({' '.join(process.cmdline())[:120] or process.name()})"


def kill_descendants() -> list[str]:
    """Kills every process that descends from this one; returns the names."""
    found = psutil.Process().children(recursive=True)
    names = []
    for process in found:
        try:
            names.append(described(process))
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(found, timeout=2)  # takes the exit status of those that are our own children
    return names


class OrphanWatch:
    """Ends descendants whose parent died: they come to us, since we asked for orphans (see processes.adopt_orphans)."""

    GRACE_S = 5.0

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}

    def step(self, own: set[int]) -> list[str]:
        """Looks for orphans; returns the names of those that it killed.

        Args:
            own: ids of the processes that we started ourselves.
        """
        now, killed, present = time.monotonic(), [], set()
        for child in psutil.Process().children():
            if child.pid in own:
                continue
            present.add(child.pid)
            try:
                if child.status() == psutil.STATUS_ZOMBIE:
                    child.wait(timeout=0)
                elif now - self._seen.setdefault(child.pid, now) > self.GRACE_S:
                    killed.append(described(child))
                    child.kill()
            except (psutil.NoSuchProcess, psutil.TimeoutExpired):
                continue
        self._seen = {pid: since for pid, since in self._seen.items() if pid in present}
        return killed
