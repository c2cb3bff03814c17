"""One supervised process: started in its own session and tied to our life, watched, restarted with growing pauses.

Children must be started from the main thread: the kernel's "parent died" signal fires when the spawning thread ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from backend.stack import logs

Health = Literal["waiting", "starting", "healthy", "unhealthy", "restarting", "stopping", "stopped"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LIVED_WELL_S = 60.0
PROBE_STARTING_S, PROBE_HEALTHY_S = 0.1, 2.0
SILENT_S, SILENT_PROBES = 60.0, 20

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent: int, signal_number: int) -> bool:
    """Asks the kernel for a signal when our parent ends; returns False when it has ended already.

    On macOS there is no such thing: the caller has to look at os.getppid() from time to time.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    return os.getppid() == parent


def adopt_orphans() -> None:
    """Makes orphaned descendants children of this process, so that it can find and end them."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def spawn(argv: list[str], environment: dict[str, str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Returns a new process in its own session, which the kernel kills when this process ends.

    Args:
        argv: the command line; "python" stands for this interpreter.
        environment: the whole environment.
        folder: its working folder.
        log: the file that gets its output.
    """
    assert threading.current_thread() is threading.main_thread()
    parent = os.getpid()

    def tie() -> None:
        if not die_with_parent(parent, signal.SIGKILL):
            os._exit(1)

    output = logs.open_for_appending(log)
    try:
        return subprocess.Popen(
            [sys.executable, *argv[1:]] if argv[0] == "python" else argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
            preexec_fn=tie,
        )
    finally:
        os.close(output)


@dataclass(eq=False)
class Supervised:
    """A process of the table. `step` does what is due; nothing in it waits longer than one probe."""

    name: str
    argv: list[str]
    environment: dict[str, str]
    folder: Path
    log: Path
    probe: Callable[[int], str | None]
    """Given the process id: None when it is healthy, else what is missing. Answers within about a second."""
    restart_when_silent: bool = True
    """Whether it is killed after a minute without health. Not so for workers: an outage of Redis stops nobody."""

    health: Health = "waiting"
    reason: str = ""
    restarts: int = 0
    exits_before_healthy: int = 0
    created: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    _started: float = 0.0
    _pause_s: float = 0.0
    _start_at: float = 0.0
    _probe_at: float = 0.0
    _silent_since: float | None = None
    _silent_probes: int = 0
    _last_words: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int | None:
        """Process id while it lives."""
        return self.process.pid if self.process else None

    def start(self) -> None:
        """Starts the process now."""
        self.process = spawn(self.argv, self.environment, self.folder, self.log)
        self.created = psutil.Process(self.process.pid).create_time()
        self._started = time.monotonic()
        self._probe_at = self._started
        self._silent_since, self._silent_probes = None, 0
        self.health, self.reason = "starting", ""

    def step(self) -> None:
        """Starts it when that is due, notices its end, and asks for its health when that is due."""
        now = time.monotonic()
        if self.process is None:
            if now >= self._start_at:
                self.restarts += self.health == "restarting"
                self.start()
            return
        status = self.process.poll()
        if status is not None:
            self._ended(status, now)
        elif now >= self._probe_at:
            self._ask()

    def last_words(self) -> list[str]:
        """Returns the end of its log as it was when it last ended by itself."""
        return self._last_words

    def signal(self, number: int) -> None:
        """Sends a signal, if the process lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def has_ended(self) -> bool:
        """Returns whether the process is gone (and takes its exit status, so that no zombie stays)."""
        if self.process is not None and self.process.poll() is None:
            return False
        self.health, self.process = "stopped", None
        return True

    def _ended(self, status: int, now: float) -> None:
        self._last_words = logs.tail(self.log)
        self.exits_before_healthy += self.health == "starting"
        lived_s = now - self._started
        self._pause_s = 0.0 if lived_s > LIVED_WELL_S else min(max(FIRST_PAUSE_S, self._pause_s * 2), LONGEST_PAUSE_S)
        self._start_at = now + self._pause_s
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self.process, self.health = None, "restarting"
        self.reason = f"{how}; starting again in {self._pause_s:.1f} s" if self._pause_s else f"{how}; starting again"

    def _ask(self) -> None:
        assert self.process is not None
        missing = self.probe(self.process.pid)
        now = time.monotonic()
        if missing is None:
            self.health, self.reason, self.exits_before_healthy = "healthy", "", 0
            self._silent_since, self._silent_probes = None, 0
        elif self.health in ("healthy", "unhealthy"):
            self.health, self.reason = "unhealthy", missing
            self._silent_since = self._silent_since or now
            self._silent_probes += 1
            silent = now - self._silent_since > SILENT_S and self._silent_probes > SILENT_PROBES
            if silent and self.restart_when_silent:
                self.reason = f"silent for {SILENT_S:.0f} s: {missing}"
                self.process.kill()
        else:
            self.reason = missing
        self._probe_at = now + (PROBE_HEALTHY_S if self.health == "healthy" else PROBE_STARTING_S)
