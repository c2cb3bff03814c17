"""A quick part of `python -m tests.faults.journal_kills`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")


def test_five_thousand_events_survive_the_kills_of_their_writer(tmp_path: Path) -> None:
    # In memory where there is such a place: what is looked at are kills, not the disk.
    environment = os.environ | {"TMPDIR": str(MEMORY if MEMORY.is_dir() else tmp_path)}
    command = [sys.executable, "-m", "tests.faults.journal_kills", "--events", "5000", "--mean-s", "0.03"]
    process = subprocess.run(
        [*command, "--journals", "1", "--processes", "1"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    found = re.search(r"(\d+) kills, (\d+) torn lines: 0 lost, 0 doubled, 0 faults", process.stdout)
    assert found is not None, process.stdout
    assert int(found[1]) >= 5
    assert int(found[2]) >= 2
