"""What people do with their runs: tag some at once, delete them, take that back, and be told when one ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.stack.driving import Api, tiny_spec

pytestmark = [pytest.mark.stack, pytest.mark.browser]
NAMES = ("to be *tagged* one", "to be *tagged* two")
TICK_X, HEAD, ROW = 16, 38, 38
"""Where the boxes of the table are, pixels: it is drawn on a canvas."""


@pytest.fixture(scope="module")
def pair(api: Api) -> Iterator[list[str]]:
    """Two runs that no other test looks at, just launched."""
    runs = [api.launch(tiny_spec(name=name, tags=[], epochs=2)) for name in NAMES]
    yield runs
    for run in runs:
        api.http.delete(f"/runs/{run}")


def tick(page: Page, rows: int) -> None:
    """Ticks the first rows of the table."""
    table = page.get_by_test_id("stDataFrame").first
    expect(table.locator("canvas").first).to_be_visible()
    for row in range(rows):
        table.click(position={"x": TICK_X, "y": HEAD + ROW * row + ROW // 2})
        expect(page.get_by_text(f"{row + 1} run", exact=False).first).to_be_visible()


def test_end_of_a_run_is_told_on_whatever_page_one_is_by_then(
    page: Page, stack: Any, api: Api, pair: list[str]
) -> None:
    page.goto(f"{stack.ui_url}/run?run={pair[1]}")
    expect(page).to_have_title(f"{NAMES[1]} · Gapscope")
    page.get_by_role("link", name="System").click()
    expect(page.get_by_text("Workers").first).to_be_visible()
    expect(page.get_by_test_id("stToast").filter(has_text=NAMES[1])).to_be_visible(timeout=90_000)
    assert api.get(f"/runs/{pair[1]}")["state"] == "finished"


def test_two_runs_are_tagged_at_once_deleted_and_brought_back(
    scheme: str, page: Page, stack: Any, api: Api, pair: list[str]
) -> None:
    for run in pair:
        api.wait_for_state(run, {"finished"})
    page.goto(f"{stack.ui_url}/runs?find=to+be+tagged")
    expect(page.locator("canvas th", has_text="over epochs")).to_have_count(2)
    tick(page, 2)
    page.get_by_role("button", name="Tag").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").fill(f"bulk {scheme}")
    dialog.get_by_role("combobox").press("Enter")
    dialog.get_by_role("combobox").press("Tab")  # closes the list, which lies over the button
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved: 2 runs.")).to_be_visible()
    assert all(f"bulk {scheme}" in api.get(f"/runs/{run}")["tags"] for run in pair)

    page.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_text(NAMES[0])).to_be_visible()  # its stars are stars
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("2 runs deleted.")).to_be_visible()
    assert {api.http.get(f"/runs/{run}").status_code for run in pair} == {404}
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Brought back: 2 runs.")).to_be_visible()
    assert all(api.get(f"/runs/{run}")["state"] == "finished" for run in pair)
    expect(page.get_by_test_id("stException")).to_have_count(0)
