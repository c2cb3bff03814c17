"""A wall clock for a whole stack that can be stepped while it runs: the C library's own answers are changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


class SteppedClock:
    """The clock of the processes that are started with its environment."""

    def __init__(self, folder: Path) -> None:
        """Builds the library.

        Args:
            folder: for the library and the file that says by how much the clock is off.
        """
        self._library, self._offset = folder / "clock.so", folder / "offset"
        compiler = shutil.which("cc")
        assert compiler is not None, "a C compiler (cc) is needed to step a clock"
        command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", self._library, SOURCE]
        subprocess.run(command, check=True, timeout=60)
        self.step(0)

    @property
    def environment(self) -> dict[str, str]:
        """What the processes must be started with."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_OFFSET_FILE": str(self._offset)}

    def step(self, seconds: int) -> None:
        """Sets by how much the clock is off, at once for all of them."""
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(seconds.to_bytes(8, "little", signed=True))
