"""The Run page while epochs arrive: nothing is redrawn, nothing that was set is lost; its numbers are the files'."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from frontend.ui import words
from tests.stack.driving import Api, tiny_spec

pytestmark = [pytest.mark.stack, pytest.mark.browser]
SLOW_MS = 30_000
"""A first page on a busy machine."""
MARK = (
    "() => document.querySelectorAll('[data-testid=stVegaLiteChart]').forEach((node, n) => { node.dataset.mark = n })"
)
MARKED = "() => document.querySelectorAll('[data-testid=stVegaLiteChart][data-mark]').length"
CHARTS = "() => document.querySelectorAll('[data-testid=stVegaLiteChart]').length"


@pytest.fixture(scope="module")
def finished(api: Api) -> Iterator[str]:
    """A finished run that this module alone looks at."""
    run = api.launch(tiny_spec(name="numbers *of* live", epochs=3))
    api.wait_for_state(run, {"finished"})
    yield run
    api.http.delete(f"/runs/{run}")


def epochs_seen(page: Page) -> int:
    """Returns how many epochs the page's figures say are finished."""
    return int(page.get_by_test_id("stMetricValue").first.inner_text().split("/")[0])


def test_while_epochs_arrive_nothing_is_drawn_anew_and_nothing_set_is_lost(page: Page, stack: Any, api: Api) -> None:
    run = api.launch(tiny_spec(name="long", epochs=400))
    try:
        api.wait_for_epoch(run, 2, timeout_s=180)
        page.goto(f"{stack.ui_url}/run?run={run}&epoch=1&more=open")
        expect(page.get_by_text("What epoch 1 says")).to_be_visible(timeout=SLOW_MS)
        expect(page.get_by_text("Loss terms")).to_be_visible(timeout=SLOW_MS)
        page.get_by_test_id("stButtonGroup").get_by_text("Training", exact=True).click()
        expect(page.get_by_text("Accuracy, training split")).to_be_visible(timeout=SLOW_MS)
        page.wait_for_function(f"() => ({CHARTS})() >= 10")
        page.evaluate(MARK)
        charts, before = page.evaluate(MARKED), epochs_seen(page)
        for _ in range(240):
            if epochs_seen(page) >= before + 3:
                break
            page.wait_for_timeout(250)
        assert epochs_seen(page) >= before + 3
        assert page.evaluate(MARKED) == charts
        expect(page.get_by_text("What epoch 1 says")).to_be_visible()
        expect(page.get_by_text("Accuracy, training split")).to_be_visible()
        expect(page.get_by_text("Loss terms")).to_be_visible()
        assert page.get_by_test_id("stSlider").locator("input").first.input_value() == "1"
        page.get_by_text("Follow", exact=True).click()
        expect(page.get_by_text("What epoch 1 says")).to_have_count(0, timeout=SLOW_MS)
        assert "epoch=" not in page.url
        assert page.evaluate(MARKED) == charts
        expect(page.get_by_test_id("stException")).to_have_count(0)
    finally:
        api.http.post(f"/runs/{run}/cancel")


def test_the_numbers_on_the_page_are_those_of_the_exported_table(
    scheme: str, page: Page, stack: Any, api: Api, finished: str
) -> None:
    exported = api.http.get(
        f"/runs/{finished}/export", params={"table": "samples", "format": "parquet", "epoch": 3, "split": "validation"}
    )
    table = pd.read_parquet(io.BytesIO(exported.content))
    total = len(table)
    page.goto(f"{stack.ui_url}/run?run={finished}")
    expect(page.get_by_role("heading", name="numbers *of* live")).to_be_visible(timeout=SLOW_MS)  # its stars are stars
    expect(page.locator("[data-testid=stVegaLiteChart] svg.marks")).to_have_count(3, timeout=SLOW_MS)
    said = page.get_by_test_id("stMain").inner_text().replace("\u00a0", " ")

    def percent(share: float) -> str:
        return words.percent(share).replace("\u00a0", " ")

    right = {name: (table[f"predicted_{name}"] == table["label"]).mean() for name in words.MODALITIES}
    accuracy = " · ".join(f"{title} {percent(right[name])}" for name, title in words.MODALITIES.items())
    assert f"Epoch 3: {accuracy} of {total} clips" in said
    assert f"{table['gap'].abs().mean():.2f}" in said.split("Mean |gap|")[1]
    audio, visual = int((table["gap"] >= 0.5).sum()), int((table["gap"] <= -0.5).sum())
    lead, other = ("audio", "visual") if audio >= visual else ("visual", "audio")
    most, least = max(audio, visual), min(audio, visual)
    if most:
        assert f"{most} of {total} validation clips are {lead}-dominant" in said
        assert f"{least} ({percent(least / total)}) are {other}-dominant" in said
    similar = table[table["gap"].abs() < 0.5]
    wrong = int((similar["predicted_fused"] != similar["label"]).sum())
    if wrong:
        assert f"Of {len(similar)} validation clips with similar scores, {wrong} are wrong" in said
    expect(page.get_by_role("button", name="Delete")).to_be_visible()
