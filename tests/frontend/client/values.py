"""What the API would send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[2] / "golden" / "events"


def run_value(state: str = "running", **changes: Any) -> dict[str, Any]:
    """Returns a run as the API shows it."""
    return {
        "id": "run-1",
        "name": "a run",
        "tags": ["demo"],
        "state": state,
        "attempt": 1,
        "spec": {"dataset": {"kind": "av-digits"}},
        "created_at": "2026-11-24T10:00:00Z",
        "progress": {"epoch": 1, "epochs": 2},
        **changes,
    }


def event_value(kind: str, seq: int, **changes: Any) -> dict[str, Any]:
    """Returns an event with the number `seq`."""
    return {**json.loads((GOLDEN / f"{kind}.json").read_text()), "seq": seq, **changes}
