"""Page: system."""

from __future__ import annotations


def page() -> None:
    """Draws the page."""
