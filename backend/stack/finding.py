"""What a check of `gapscope doctor` looks at, and what it finds."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from worker.contract.settings import Settings

Verdict = Literal["ok", "warning", "error"]
ANSWER_S = 120.0


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Examined:
    """What the checks look at."""

    settings: Settings
    home: Path
    api_port: int
    ui_port: int
    fix: bool
    running: bool
    """A stack serves this home now."""


def ask(*arguments: str) -> dict[str, Any] | str:
    """Returns what a Python program answers as JSON, or why it did not: heavy libraries, which may crash, stay there.

    Args:
        arguments: of the interpreter.
    """
    try:
        result = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=ANSWER_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {ANSWER_S:.0f} s"
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()
        return lines[-1] if lines else f"ended with status {result.returncode}"
    return dict(json.loads(result.stdout.splitlines()[-1]))
