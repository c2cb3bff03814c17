"""Runs a Python module and writes down every file that it opens for writing, makes, moves or links outside a folder."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS = {
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
}
"""Audit event -> places, among its arguments, of each path that changes and of the folder that it is relative to."""


def watch(allowed: Path, report: Path) -> None:
    """Appends to `report` every path outside `allowed` that this process changes from now on."""
    inside = os.path.realpath(allowed) + os.sep
    lines = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def judge(path: Any, folder: Any = -1) -> None:
        if isinstance(path, int) or path is None:
            return  # an open descriptor: its path was judged when it was opened
        above = f"/proc/self/fd/{folder}" if isinstance(folder, int) and folder >= 0 else ""
        name = os.path.realpath(os.path.join(above, os.fsdecode(path)))
        if not (name + os.sep).startswith(inside) and not name.startswith("/dev/"):
            os.write(lines, name.encode("utf-8", "backslashreplace") + b"\n")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            judge(arguments[0])
        for path, folder in _PATHS.get(event, ()):
            judge(arguments[path], arguments[folder])

    sys.addaudithook(hook)


if __name__ == "__main__":
    _, allowed_text, report_text, module, *rest = sys.argv
    watch(Path(allowed_text), Path(report_text))
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
