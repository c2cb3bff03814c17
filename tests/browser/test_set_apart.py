"""System names what lies in the home and cannot be read, and says nothing of it once it is gone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.backend.stack.running import RunningStack

pytestmark = [pytest.mark.stack, pytest.mark.browser]


def test_a_foreign_file_is_named_as_text_with_what_to_do_until_it_is_gone(
    page: Page, stack: RunningStack, scheme: str
) -> None:
    foreign = stack.home / "runs" / f"my *{scheme}* notes.txt"
    foreign.write_text("mine")
    try:
        page.goto(f"{stack.ui_url}/system")
        table = page.locator(".st-key-system_set_apart")
        expect(table).to_contain_text(f"my *{scheme}* notes.txt")
        expect(table).to_contain_text("Move it out of the home.")
        expect(table).to_contain_text(str(foreign))
    finally:
        foreign.unlink()
    expect(table).to_have_count(0)
