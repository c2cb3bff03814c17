"""Decoding what strangers made without risking more than one expendable process.

`SandboxedDecoder` is for one uploaded clip at a time: its process is replaced after the clip. `DecodePool` is for
preparation: processes that are kept, one clip in flight each; a death blames that clip alone.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

from worker.contract.errors import MediaError
from worker.media.container import DecodeLimits
from worker.media.decode import DecodedClip, WindowSpec
from worker.media.process import DecoderProcess
from worker.media.wire import DecodeJob, job_for

UPLOAD_LIMITS = DecodeLimits(max_duration_s=600.0, threads=2)
_CHECK_S = 0.5


class SandboxedDecoder:
    """Decodes uploaded clips, each in a process of its own that waits already started.

    Create and use it in one thread, best the main one: then the processes die with it (see DecoderProcess).
    """

    def __init__(self, *, limits: DecodeLimits = UPLOAD_LIMITS, timeout_s: float = 30.0) -> None:
        """Starts the first spare.

        Args:
            limits: what a clip may cost.
            timeout_s: wall-clock time for one clip.
        """
        self._limits = limits
        self._timeout_s = timeout_s
        self._spare: DecoderProcess | None = None
        self._ended: DecoderProcess | None = None
        self.restock()

    def decode(
        self,
        path: Path,
        spec: WindowSpec,
        *,
        audio_path: Path | None = None,
        start_s: float | None = None,
        end_s: float | None = None,
        max_windows: int = 0,
        hop_s: float | None = None,
        restock: bool = True,
    ) -> list[DecodedClip]:
        """Returns the middle window of a clip and up to `max_windows` windows over time (see decode_windows).

        Args:
            path: a regular file that we wrote.
            spec: the window.
            audio_path: the sound, where it is a file of its own.
            start_s: start of the part to use.
            end_s: end of the part to use.
            max_windows: windows over time wanted at most.
            hop_s: seconds from one window to the next; half a window by default.
            restock: start the next spare at once; False leaves that to a later call of `restock`, so that its start
                does not compete with the forward pass.

        Raises:
            MediaError: those of decode_windows, media-timeout, media-crashed.
        """
        job = replace(
            job_for(path, spec, self._limits, audio_path=audio_path),
            start_s=start_s,
            end_s=end_s,
            max_windows=max_windows,
            hop_s=hop_s,
            cpu_s=max(1, round(2 * self._timeout_s)),
        )
        process = self._take()
        try:
            process.send(job)
            answer = process.wait(self._timeout_s)
        finally:
            process.kill()
            self._bury(process)
            if restock:
                self.restock()
        if isinstance(answer, MediaError):
            raise answer
        return answer

    def restock(self) -> None:
        """Starts a spare if none waits."""
        if self._spare is None or not self._spare.alive:
            if self._spare is not None:
                self._spare.close()
            self._spare = DecoderProcess(warm=True)

    def close(self) -> None:
        """Ends the spare."""
        self._bury(None)
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def _bury(self, process: DecoderProcess | None) -> None:
        """Reaps the process before this one: by now it has ended, and nobody waits for it."""
        if self._ended is not None:
            self._ended.close()
        self._ended = process

    def _take(self) -> DecoderProcess:
        self.restock()
        assert self._spare is not None
        process, self._spare = self._spare, None
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class DecodePool:
    """Decodes many clips in several processes that are kept as long as they live."""

    def __init__(self, num_processes: int, *, timeout_s: float = 120.0) -> None:
        """Starts the processes.

        Args:
            num_processes: clips in flight.
            timeout_s: wall-clock time for one clip.
        """
        if num_processes < 1:
            raise ValueError(f"num_processes must be at least 1, got {num_processes}")
        self._timeout_s = timeout_s
        self._processes = [DecoderProcess() for _ in range(num_processes)]
        self._keys: dict[DecoderProcess, int] = {}

    @property
    def pids(self) -> list[int]:
        """Process ids of the children."""
        return [process.pid for process in self._processes]

    def run(
        self, jobs: Iterable[tuple[int, DecodeJob]], *, should_stop: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[int, list[DecodedClip] | MediaError]]:
        """Yields (key, clips or error) for each (key, job), in the order in which they are done.

        Jobs are drawn as processes become free: memory does not grow with their number. A process has its next job
        before its last answer is yielded.

        Args:
            jobs: clips with keys of the caller's.
            should_stop: asked after every answer and twice a second; then the iteration ends, what is in flight is
                dropped, and the pool can only be closed.
        """
        waiting = iter(jobs)
        with selectors.DefaultSelector() as selector:
            for process in self._processes:
                self._next(process, waiting)
                selector.register(process, selectors.EVENT_READ)
            while self._keys and not should_stop():
                ready = [key.fileobj for key, _ in selector.select(_CHECK_S)]
                for process in list(self._processes):
                    answer = self._answer(process, readable=process in ready)
                    if answer is None:
                        continue
                    key = self._keys.pop(process, None)
                    self._next(self._renewed(process, selector), waiting)
                    if key is not None:
                        yield key, answer

    def _answer(self, process: DecoderProcess, *, readable: bool) -> list[DecodedClip] | MediaError | None:
        answer = process.poll() if readable else None
        if answer is None and process in self._keys and process.busy_s > self._timeout_s:
            return process.time_out(self._timeout_s)
        return answer

    def _renewed(self, process: DecoderProcess, selector: selectors.BaseSelector) -> DecoderProcess:
        if process.alive:
            return process
        selector.unregister(process)
        process.close()
        fresh = DecoderProcess()
        self._processes[self._processes.index(process)] = fresh
        selector.register(fresh, selectors.EVENT_READ)
        return fresh

    def _next(self, process: DecoderProcess, waiting: Iterator[tuple[int, DecodeJob]]) -> None:
        item = next(waiting, None)
        if item is not None:
            self._keys[process], job = item
            process.send(replace(job, cpu_s=max(1, round(2 * self._timeout_s))))

    def close(self) -> None:
        """Kills the processes."""
        for process in self._processes:
            process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
