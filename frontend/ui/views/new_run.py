"""Page: new_run."""

from __future__ import annotations


def page() -> None:
    """Draws the page."""
