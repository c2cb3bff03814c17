"""The home that an earlier version left, unpacked for a test (tests/fixtures/README.md)."""

from __future__ import annotations

import tarfile
from pathlib import Path

from worker.contract.layout import Home
from worker.contract.record import read_spec

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "home-of-format-1.tar.xz"


def unpack(folder: Path) -> Home:
    """Returns the home, unpacked into a folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return Home(folder / "home")


def runs_by_name(home: Home) -> dict[str, str]:
    """Returns the ids of the home's runs by their names."""
    records = [read_spec(folder / "spec.json") for folder in home.runs.iterdir()]
    return {str(record.spec["name"]): record.id for record in records if record is not None}
