"""The expendable decoder process: `python -P -m worker.media.child RESULT_FD PARENT_PID DIE_WITH_PARENT WARM`.

Reads one job a line on standard input, answers one line each on standard output, writes arrays into the inherited
file. It never imports torch. Whatever a clip does to it, its parent starts another one.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

_ADDRESS_SPACE_BYTES = 2 * 1024**3
_FILE_BYTES = 1024**3
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Answers jobs until standard input ends; returns the exit status."""
    result_fd, parent_pid, die_with_parent = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1"
    confine(parent_pid, die_with_parent=die_with_parent)
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a codec prints must not look like an answer
    _serve(sys.stdin.buffer, replies, result_fd, warm=sys.argv[4] == "1")
    return 0


def confine(parent_pid: int, *, die_with_parent: bool) -> None:
    """Limits this process: no core dumps, files and address space bounded, gone with its parent.

    Args:
        parent_pid: who started it; when that is not its parent any more, it ends at once.
        die_with_parent: whether the end of the thread that started it ends it, too.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, _FILE_BYTES))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
        if die_with_parent:
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(0)  # the parent died before the line above


def allow_cpu(seconds: int) -> None:
    """Lets this process use that much processor time from now on; then it is killed."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    allowed = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (allowed if hard < 0 else min(allowed, hard), hard))


def _serve(jobs: BinaryIO, replies: BinaryIO, result_fd: int, *, warm: bool) -> None:
    # Imported after the limits are set and while the parent is busy: a spare has it all loaded when its clip comes.
    from worker.contract.errors import MediaError
    from worker.media.decode import decode_windows
    from worker.media.quality import measure
    from worker.media.warm import warm_up
    from worker.media.wire import DecodeJob, error_line, reply_line

    if warm:
        warm_up(result_fd)
    replies.write(b"ready\n")
    for line in jobs:
        job = DecodeJob.parse(line)
        allow_cpu(job.cpu_s)
        path = Path(job.path)
        try:
            if job.maker is not None and not path.exists():
                module, _, function = job.maker.partition(":")
                getattr(importlib.import_module(module), function)(path, job.recipe)
            clips = decode_windows(
                path,
                job.window,
                audio_path=Path(job.audio_path) if job.audio_path else None,
                start_s=job.start_s,
                end_s=job.end_s,
                max_windows=job.max_windows,
                hop_s=job.hop_s,
                limits=job.limits,
            )
            if job.measure:
                clips = [replace(clip, quality=measure(clip, job.window.sample_rate_hz)) for clip in clips]
            answer = reply_line(clips, result_fd)
        except MediaError as error:
            answer = error_line(error)
        except MemoryError:
            answer = error_line(MediaError("Decoding the clip takes too much memory.", code="media-too-large"))
        except Exception as error:  # a fault of ours or of a codec: reported with its name, costs this clip alone
            answer = error_line(MediaError(f"{type(error).__name__}: {error}", code="media-not-decodable"))
        replies.write(answer)


if __name__ == "__main__":
    sys.exit(main())
