"""A child without torch for the supervisor's tests: does what the job's folder tells it in `play`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from worker.contract.layout import Home
from worker.contract.lock import FolderLock
from worker.contract.record import Outcome
from worker.contract.settings import load_settings
from worker.runtime.arguments import ChildArguments
from worker.runtime.lifetime import StopRequest, exit_at_once
from worker.runtime.pulse import PulseWriter


def main(argv: list[str]) -> int:
    arguments = ChildArguments.parse(argv)
    stop = StopRequest.install(arguments.parent, 2.0)
    pulse = PulseWriter(arguments.pulse_fd)
    folder = Home(load_settings().home).dataset(arguments.job_id)
    FolderLock.acquire(folder.lock, token=arguments.token, wait_s=1.0)
    plays = (folder.path / "play").read_text().split()
    sys.stdout.write(f"attempt {arguments.attempt}: {plays[0]}\n")
    (folder.path / "play").write_text(" ".join(plays[1:] or plays))
    return play(plays[0], folder.path, stop, pulse)


def play(what: str, path: Path, stop: StopRequest, pulse: PulseWriter) -> int:
    outcome = path / "outcome.json"
    pulse.step()
    match what:
        case "finish":
            Outcome.now("finished").write(outcome)
            return 0
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "retry":
            pulse.reason("out of\nmemory")
            return 30
        case "full":
            pulse.reason("OSError: [Errno 28] No space left on device")
            return 23
        case "hang":
            time.sleep(60)
        case "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            (path / "ready").touch()
            while True:
                pulse.step()
                time.sleep(0.05)
        case "shout":
            sys.stdout.write("x" * 100_000)
            sys.stdout.flush()
    (path / "ready").touch()
    while not stop.asked:
        pulse.step()
        time.sleep(0.02)
    if (path / "cancel.json").exists():
        Outcome.now("cancelled").write(outcome)
        return 11
    return 10


if __name__ == "__main__":
    exit_at_once(main(sys.argv[1:]))
