"""What `gapscope up` shows: a table that redraws itself on a terminal, a line for each change elsewhere.

Where nothing can be shown, as on a full disk or a terminal that is gone, the stack goes on unshown.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from backend.stack.processes import Health, Supervised

_STYLES: dict[Health, str] = {"healthy": "green", "unhealthy": "red", "restarting": "yellow", "stopped": "dim"}


class Display(Protocol):
    """Shows the state of the stack."""

    def say(self, text: str) -> None:
        """Shows a line that stays."""

    def show(self, table: list[Supervised]) -> None:
        """Shows the table as it is now; called often."""

    def close(self) -> None:
        """Ends the showing."""


def described(entry: Supervised) -> str:
    """Returns a process's state in words."""
    pid = f", process {entry.pid}" if entry.pid else ""
    reason = f" ({entry.reason})" if entry.reason else ""
    restarts = f", restarted {entry.restarts} x" if entry.restarts else ""
    return f"{entry.health}{pid}{restarts}{reason}"


class PlainDisplay:
    """A line for each change, with the time."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[Health, int | None]] = {}

    def say(self, text: str) -> None:
        """Shows a line that stays."""
        with suppress(OSError):
            sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
            sys.stdout.flush()

    def show(self, table: list[Supervised]) -> None:
        """Shows what has changed since the last call."""
        for entry in table:
            state = (entry.health, entry.pid)
            if self._shown.get(entry.name) != state:
                self._shown[entry.name] = state
                self.say(f"{entry.name}: {described(entry)}")

    def close(self) -> None:
        """Nothing to end."""


class LiveDisplay:
    """A table on a terminal, redrawn in place. It starts no thread: a thread would forbid safe forks."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        self._drawn = ""

    def say(self, text: str) -> None:
        """Shows a line above the table."""
        with suppress(OSError):
            self._live.console.print(Text(text))

    def show(self, table: list[Supervised]) -> None:
        """Draws the table again if something changed."""
        text = "\n".join(f"{entry.name} {described(entry)}" for entry in table)
        if text == self._drawn:
            return
        self._drawn = text
        grid = Table("Process", "State", "Id", "Restarts", "", box=None, padding=(0, 2))
        for entry in table:
            state = Text(entry.health, style=_STYLES.get(entry.health, ""))
            grid.add_row(entry.name, state, str(entry.pid or ""), str(entry.restarts or ""), Text(entry.reason))
        with suppress(OSError):
            self._live.update(Group(grid, Text("Ctrl-C stops everything.", style="dim")), refresh=True)

    def close(self) -> None:
        """Takes the table away; what was said stays."""
        with suppress(OSError):
            self._live.stop()


def for_this_terminal() -> Display:
    """Returns the display that fits where the output goes."""
    return LiveDisplay() if sys.stdout.isatty() else PlainDisplay()
