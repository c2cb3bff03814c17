"""Page: test_clip."""

from __future__ import annotations


def page() -> None:
    """Draws the page."""
