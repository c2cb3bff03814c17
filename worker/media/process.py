"""One decoder process as its parent sees it: start, send a job, await the answer, kill.

Uses subprocess, not multiprocessing, so that it works inside the daemonic processes of Celery.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from worker.contract.errors import MediaError
from worker.media.decode import DecodedClip
from worker.media.wire import DecodeJob, parse_reply

_ROOT = Path(__file__).resolve().parents[2]
_START_S = 60.0
"""A child that is not ready after this long counts as busy with its job."""
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "SYSTEMROOT")
"""The child works on hostile input: no key or address of ours stands in its environment."""


class DecoderProcess:
    """A child that decodes one job at a time; not safe for use by several threads at once."""

    def __init__(self, *, warm: bool = False) -> None:
        """Starts the child.

        Args:
            warm: the child decodes a tiny clip of its own first, so that the first real one is as fast as the second.
        """
        self._results = _shared_file()
        self._buffer = b""
        self.job: DecodeJob | None = None
        self._sent_at = 0.0
        self._ready_at = time.monotonic() + _START_S
        # PDEATHSIG fires when the thread ends that started the child: only the main thread lasts as long as we do.
        # Elsewhere the end of the child's standard input is what ends it.
        with_parent = threading.current_thread() is threading.main_thread()
        arguments = [str(self._results), str(os.getpid()), "1" if with_parent else "0", "1" if warm else "0"]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "worker.media.child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(self._results,),
            env=_environment(),
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def fileno(self) -> int:
        """Returns the descriptor to select on: readable when the child answered, got ready or died."""
        return self._output.fileno()

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._process.poll() is None

    def send(self, job: DecodeJob) -> None:
        """Gives the child its next job; a child that is gone shows when its answer is awaited."""
        self.job = job
        self._sent_at = time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            self._input.write(job.line())

    @property
    def busy_s(self) -> float:
        """Seconds since the child, once ready, has had the job; its start is not the clip's fault."""
        return time.monotonic() - max(self._sent_at, self._ready_at)

    def poll(self) -> list[DecodedClip] | MediaError | None:
        """Reads what the child wrote; call it when `fileno` is readable.

        Returns:
            The clips, the error of this job, or None if the answer is not complete yet.
        """
        data = os.read(self._output.fileno(), 65_536)
        if not data:
            return self._died()
        self._buffer += data
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            if line == b"ready":
                self._ready_at = time.monotonic()
                continue
            job, self.job = self.job, None
            if job is None:
                return MediaError("The decoder answered unasked.", code="media-crashed")
            try:
                return parse_reply(line, self._results, job)
            except MediaError as error:
                return error
        return None

    def wait(self, timeout_s: float) -> list[DecodedClip] | MediaError:
        """Returns the answer to the job, or media-timeout when it takes longer (the child is killed then)."""
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            while True:
                answer = self.poll() if selector.select(max(0.0, timeout_s - self.busy_s)) else None
                if answer is not None:
                    return answer
                if self.busy_s > timeout_s:
                    return self.time_out(timeout_s)

    def time_out(self, timeout_s: float) -> MediaError:
        """Kills the child and returns the error that says so."""
        self.close()
        return MediaError(
            f"Decoding took longer than {timeout_s:g} s and was stopped. Cut the clip or encode it anew.",
            code="media-timeout",
        )

    def kill(self) -> None:
        """Kills the child without waiting for its end, which takes some milliseconds; `close` must follow."""
        self._process.kill()

    def close(self) -> None:
        """Kills the child and frees what it held."""
        if self._results < 0:
            return
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()
        os.close(self._results)
        self._results = -1

    def _died(self) -> MediaError:
        status = self._process.wait()
        self.close()
        if status == -signal.SIGXCPU:
            return MediaError("Decoding the clip took too much processor time.", code="media-timeout")
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return MediaError(f"The decoder process ended on this clip ({how}).", code="media-crashed")


def _environment() -> dict[str, str]:
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **passed,
        "PYTHONPATH": os.pathsep.join(paths),
        "MALLOC_ARENA_MAX": "2",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _shared_file() -> int:
    """Returns the descriptor of a file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):  # Linux
        return os.memfd_create("gapscope-clip", os.MFD_CLOEXEC)
    descriptor, name = tempfile.mkstemp(prefix="gapscope-clip-")
    os.unlink(name)
    return descriptor
