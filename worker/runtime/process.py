"""A supervised child as its parent sees it: own process group, output into the job's log, a pulse pipe.

To be started from the main thread of the pool process: on Linux the child dies with the thread that started it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from worker.contract.settings import Settings
from worker.runtime.pulse import PulseReader


class ChildProcess:
    """One child of the supervisor."""

    def __init__(self, module: str, arguments: Sequence[str], log: Path, settings: Settings) -> None:
        """Starts `python -m module arguments... PULSE_FD PARENT_PID`.

        Args:
            module: the child's entry point.
            arguments: its first arguments.
            log: the file that gets its output.
            settings: for the devices and the size of the log.
        """
        assert threading.current_thread() is threading.main_thread(), "the child would die with this thread"
        self._log = log
        self._max_log_bytes = settings.max_log_bytes // 2
        read_end, write_end = os.pipe()
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", module, *arguments, str(write_end), str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(write_end,),
                    env=_environment(settings),
                    start_new_session=True,
                )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self.pulse = PulseReader(read_end, time.monotonic())

    @property
    def pid(self) -> int:
        """The child's process id, and that of its group."""
        return self._process.pid

    def poll(self) -> int | None:
        """Returns the exit status (negative: the signal), or None while the child lives."""
        return self._process.poll()

    def wait(self, seconds: float) -> None:
        """Waits for up to `seconds`: less when the child ends (its pipe closes) or says something."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.pulse, selectors.EVENT_READ)
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0 and self.poll() is None:
                if not selector.select(left):
                    return
                if not self.pulse.read(time.monotonic()):
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(max(0.0, deadline - time.monotonic()))
                    return

    def ask_to_leave(self) -> None:
        """Sends SIGTERM to the child alone."""
        self._signal(signal.SIGTERM)

    def show_stacks(self) -> None:
        """Makes the child, and all processes of its run, write the stacks of their threads into the log."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGUSR1)
        time.sleep(0.5)

    def kill(self) -> None:
        """Kills the child and all of its group, and reaps it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Kills what is left of the group and frees the pipe."""
        if self.poll() is None:
            self.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.pulse.read(time.monotonic())
        self.pulse.close()

    def rotate_log(self) -> None:
        """Moves the log's content to `<name>.1` when it is half as large as allowed; the child writes on."""
        with contextlib.suppress(OSError):
            if self._log.stat().st_size > self._max_log_bytes:
                shutil.copyfile(self._log, self._log.with_name(f"{self._log.name}.1"))
                os.truncate(self._log, 0)

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _environment(settings: Settings) -> dict[str, str]:
    # -P keeps the working directory out of the path, so that no file there shadows a module of ours.
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    environment["GAPSCOPE_HOME"] = str(settings.home.resolve())
    if settings.devices:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(str(device) for device in settings.devices)
    # Needed for repeatable sums on a GPU; must be set before CUDA starts.
    environment.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return environment
