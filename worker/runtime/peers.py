"""The other processes of a run, as its first process starts, watches and ends them.

They die with it: each watches its parent, and all are of its process group. Where one of them dies it ends too, so that
the supervisor tries again: none can go on alone. This module must not know what they compute.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

from worker.engine.world import World

LOOK_S = 0.2
GRACE_S = 10.0
"""Seconds in which the first process may notice by itself that another is gone, before it is ended: one that waits for
a GPU's exchange never would."""


class PeerLostError(RuntimeError):
    """Another process of the run ended before its time."""


class Peers:
    """Processes 2 to N of a run. To be started from the main thread: on Linux they die with the thread."""

    def __init__(self, run_id: str, size: int, checkpoint: str) -> None:
        """Starts them.

        Args:
            run_id: of the run.
            size: processes of the run, this one among them.
            checkpoint: the file's name that all go on from; empty: the run begins.
        """
        self._size = size
        self._folder = tempfile.TemporaryDirectory(prefix="gapscope-run-")
        self._closed = threading.Event()
        command = [sys.executable, "-P", "-m", "worker.runtime.peer", run_id]
        self._processes = [
            subprocess.Popen([*command, str(rank), str(size), str(self.meeting), checkpoint, str(os.getpid())])
            for rank in range(1, size)
        ]

    @property
    def meeting(self) -> Path:
        """The file by which they find each other."""
        return Path(self._folder.name) / "meeting"

    def join(self, device: torch.device) -> World:
        """Returns the world, once all are there."""
        return World.join(0, self._size, self.meeting, device)

    def watch(self, end: Callable[[str], None]) -> None:
        """Calls `end` with the reason when one of them is gone and this process goes on all the same."""
        threading.Thread(target=self._watch, args=(end,), name="peers", daemon=True).start()

    def _watch(self, end: Callable[[str], None]) -> None:
        while not self._closed.wait(LOOK_S):
            if (reason := self._lost()) is not None:
                if not self._closed.wait(GRACE_S):
                    end(reason)
                return

    def lost(self, wait_s: float = 2.0) -> str | None:
        """Returns which one is gone and how, or None where all live after `wait_s`: none leaves by itself."""
        deadline = time.monotonic() + wait_s
        while (reason := self._lost()) is None and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return reason

    def _lost(self) -> str | None:
        for number, process in enumerate(self._processes, start=2):
            status = process.poll()
            if status is not None:
                how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
                return f"process {number} of {self._size} {how}; the log has what it said"
        return None

    def close(self) -> None:
        """Ends them: they hold nothing that is not in this process too."""
        self._closed.set()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):  # a driver may hold one; the outcome is written
                process.wait(GRACE_S)
        self._folder.cleanup()
