"""A real browser on the real stack. Screenshots of every story stay in artifacts/screenshots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.chromium import FLAGS, executable

SCREENSHOTS = Path("artifacts/screenshots")
NO_BROWSER = (
    "Chromium is needed for the browser tests and could not be started. Install it (Debian: `apt-get install "
    "chromium`; elsewhere: `.venv/bin/python -m playwright install chromium`) and run `make test` again."
)


expect.set_options(timeout=30_000)  # a busy machine of two cores draws a page in some seconds


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all stories; a machine without one fails, and says what to install."""
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        except Exception as error:
            pytest.fail(f"{NO_BROWSER} ({str(error).splitlines()[0]})", pytrace=False)
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> Any:
    """Both themes."""
    return request.param


@pytest.fixture
def page(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh browser window; a screenshot is kept when the test ends, well or badly."""
    scheme = request.getfixturevalue("scheme") if "scheme" in request.fixturenames else "light"
    context = chromium.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(30_000)
    yield page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
    context.close()
