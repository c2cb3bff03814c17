"""Where Chromium is, and how it is started for tests."""

from __future__ import annotations

import shutil

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str | None:
    """Returns the path of an installed Chromium; None lets Playwright take its own."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)
