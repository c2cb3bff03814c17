"""System in the browser: each limit stands there with what is used of it, what happens beyond it, and what sets it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.stack.driving import Api

pytestmark = [pytest.mark.stack, pytest.mark.browser]


def test_limits_stand_on_the_system_page(page: Page, stack: Any, api: Api, scheme: str) -> None:
    page.goto(f"{stack.ui_url}/system")
    for limit in api.get("/system")["limits"]:
        row = page.get_by_role("row").filter(has_text=limit["title"]).filter(has_text=limit["setting"])
        expect(row).to_contain_text("refused" if limit["refuses"] else "the oldest goes")
    expect(page.get_by_text("What is too old or too much is deleted once a minute")).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)
