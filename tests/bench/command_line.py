"""How soon the command line answers."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.figure import Figure


def measure() -> list[Figure]:
    """Returns the median time of `gapscope --help`, and of an empty interpreter for comparison."""
    command = Path(sys.executable).with_name("gapscope")
    times: dict[str, list[float]] = {"help": [], "python": []}
    for _ in range(11):
        for name, line in (("help", [command, "--help"]), ("python", [sys.executable, "-c", "pass"])):
            start = time.perf_counter()
            subprocess.run(line, capture_output=True, check=True)
            times[name].append(time.perf_counter() - start)
    seconds, empty = (statistics.median(values[1:]) for values in times.values())
    measured = f"{seconds * 1e3:.0f} ms (empty Python: {empty * 1e3:.0f} ms)"
    return [Figure("`gapscope --help`", measured, "300 ms", seconds <= 0.3)]
