"""`make bench`: measures what docs/benchmarks.md promises, and writes the figures to artifacts/benchmarks.md.

Each section is a module with `measure() -> list[Figure]`. Sections that compare two things interleave them in one run,
since machines are noisy: read ratios. `python -m tests.bench demo analysis` measures only those.
"""

from __future__ import annotations

import importlib
import platform
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.figure import Figure, table

SECTIONS = (
    "command_line",
    "loader",
    "preparation",
    "epoch",
    "analysis",
    "scoring",
    "stack",
    "uploads",
    "live_pages",
    "api_calls",
    "demo",
    "planted",
    "methods",
)


def main(names: list[str]) -> int:
    """Measures the named sections, or all, and writes the report."""
    unknown = set(names) - set(SECTIONS)
    if unknown:
        print(f"Unknown: {', '.join(sorted(unknown))}. There are: {', '.join(SECTIONS)}.", file=sys.stderr)  # noqa: T201
        return 2
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    parts = [
        f"Measured {time.strftime('%Y-%m-%d')} on {_processor()}, Python {platform.python_version()}, "
        f"commit {commit.stdout.strip()}.\n"
    ]
    for name in names or SECTIONS:
        figures: list[Figure] = importlib.import_module(f"tests.bench.{name}").measure()
        parts.append(table(name, figures))
        print(parts[-1], flush=True)  # noqa: T201
    report = Path("artifacts/benchmarks.md")
    report.parent.mkdir(exist_ok=True)
    report.write_text("\n".join(parts))
    return 0


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cores = subprocess.run(["nproc"], capture_output=True, text=True, check=True).stdout.strip()
            return f"{line.split(':')[1].strip()} ({cores} cores)"
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
