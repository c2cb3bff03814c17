"""`gapscope doctor`."""

from __future__ import annotations

from worker.contract.settings import Settings


def doctor(settings: Settings, api_port: int, ui_port: int, *, fix: bool, as_json: bool) -> int:
    """Returns 0."""
    return 0
