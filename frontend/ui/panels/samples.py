"""The Samples tab."""

from __future__ import annotations

from worker.contract.resources import Run


def draw(run: Run) -> None:
    """Draws the Samples tab."""
