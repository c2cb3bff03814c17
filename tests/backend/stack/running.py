"""Running the real stack of one machine, as a user does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunningStack:
    """Everything that `gapscope up` started."""

    home: Path
    api_url: str
    ui_url: str
    pid: int


def start_stack(home: Path, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    """Starts the real `gapscope up` on free ports; its output goes to up.log beside the home."""
    command = [Path(sys.executable).parent / "gapscope", "up", "--home", home, "--api-port", "0", "--ui-port", "0"]
    with home.with_name("up.log").open("ab") as log:
        return subprocess.Popen(
            [*command, *options],
            env=clean_environment() | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for_stack(home: Path, process: subprocess.Popen[bytes], timeout_s: float = 60.0) -> RunningStack:
    """Returns the stack once all of it is healthy."""
    deadline = time.monotonic() + timeout_s
    log = home.with_name("up.log")
    while time.monotonic() < deadline and process.poll() is None:
        try:
            record = json.loads((home / "stack.json").read_text())
        except (OSError, ValueError):
            record = {}
        if record.get("state") == "ready" and record.get("pid") == process.pid:
            return RunningStack(home, record["api_url"], record["ui_url"], process.pid)
        time.sleep(0.05)
    process.terminate()
    process.wait(15)
    raise AssertionError(f"the stack was not ready within {timeout_s:.0f} s:\n{log.read_text()}")


def stop_stack(process: subprocess.Popen[bytes], timeout_s: float = 15.0) -> int:
    """Stops a stack as Ctrl-C would; returns its exit status."""
    process.send_signal(signal.SIGINT)
    return process.wait(timeout_s)


def clean_environment() -> dict[str, str]:
    """Returns our environment without any of Gapscope's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GAPSCOPE_")}
