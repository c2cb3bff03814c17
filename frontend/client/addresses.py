"""Where the API answers, when nobody says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

DEFAULT_API_URL = "http://127.0.0.1:8000"


def stack_record(home: Path) -> dict[str, Any] | None:
    """Returns what the stack that serves `home` wrote of itself (stack.json), or None where none runs."""
    try:
        record = json.loads((home / "stack.json").read_text())
        os.kill(int(record["pid"]), 0)
    except PermissionError:  # it lives, and belongs to someone else
        return record if isinstance(record, dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if isinstance(record, dict) else None


def discover() -> str:
    """Returns the API's address: GAPSCOPE_API_URL, else that of the stack that serves the home, else the default.

    The home is GAPSCOPE_HOME, else `./home`, as for `gapscope up`.
    """
    given = os.environ.get("GAPSCOPE_API_URL")
    if given:
        return given.rstrip("/")
    record = stack_record(Path(os.environ.get("GAPSCOPE_HOME") or "home"))
    return str(record["api_url"]) if record and "api_url" in record else DEFAULT_API_URL


def known_key(address: str) -> str | None:
    """Returns the API key for an address: GAPSCOPE_API_KEY, else that of the stack which serves the home there.

    A key goes to no other address than that of its own stack.
    """
    given = os.environ.get("GAPSCOPE_API_KEY", "").strip()
    if given:
        return given
    home = Path(os.environ.get("GAPSCOPE_HOME") or "home")
    record = stack_record(home)
    if record is None or str(record.get("api_url", "")).rstrip("/") != address.rstrip("/"):
        return None
    return local_key(home)


def local_key(home: Path) -> str | None:
    """Returns the key that a stack keeps in its home for its own user; None where it asks for none."""
    try:
        return (home / "local.key").read_text().strip() or None
    except OSError:
        return None
