"""Two finished runs are compared: the tests' counts, a clip that changed, a chart saved as SVG and CSV."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from tests.stack.driving import Api, tiny_spec

pytestmark = [pytest.mark.stack, pytest.mark.browser]
TICK_X, FIRST_ROW_Y = 16, 57
"""Where the first box of a table is, pixels: it is drawn on a canvas."""


@pytest.fixture(scope="module")
def pair(api: Api) -> Iterator[list[str]]:
    """Two finished runs that differ in their seed."""
    runs = [api.launch(tiny_spec(name="compared", tags=[], epochs=2, seed=seed)) for seed in (0, 1)]
    for run in runs:
        api.wait_for_state(run, {"finished"})
    yield runs
    for run in runs:
        api.http.delete(f"/runs/{run}")


def saved(page: Page, kind: str) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=kind).last.click()
    return Path(download.value.path())


def test_two_runs_are_compared_clip_by_clip_and_a_chart_is_saved(
    scheme: str, page: Page, stack: Any, api: Api, pair: list[str]
) -> None:
    page.set_viewport_size({"width": 1280, "height": 3200})  # tables are drawn once they are in sight
    page.goto(f"{stack.ui_url}/compare?runs={','.join(pair)}")
    expect(page.locator("svg.marks").first).to_be_visible(timeout=30_000)  # the first page of a cold stack
    expect(page.get_by_text("tests are made here")).to_be_visible()
    tests_of = api.get("/compare/pairs", runs=",".join(pair))["items"][0]
    fused = next(test for test in tests_of["tests"] if test["modality"] == "fused")
    table = page.locator(".st-key-compare_pairs")
    expect(table.locator("canvas").first).to_be_visible()
    names = ("both_right", "only_first_right", "only_second_right", "both_wrong")
    counts = [tests_of["num_samples"], *(fused[name] for name in names)]
    expect(table.locator("table").first).to_contain_text("Fused" + "".join(str(one) for one in counts))

    page.locator(".st-key-save_chart_compare_fused button").first.click()
    svg = saved(page, "SVG").read_text()
    assert "compared, seed 0" in svg
    assert "validation split" in svg
    read = pd.read_csv(io.StringIO(saved(page, "CSV").read_text()), comment="#")
    curves = api.get("/compare", runs=",".join(pair))["runs"]
    means = [sum(side["curve"][k]["accuracy"]["fused"] for side in curves) / 2 for k in range(2)]
    values = read.dropna(subset=["value"]).drop_duplicates("epoch").sort_values("epoch")["value"]
    assert list(values) == pytest.approx(means)
    page.keyboard.press("Escape")

    changed = api.get("/compare/changes", first=pair[0], second=pair[1])["items"]
    assert changed
    rows = page.locator(".st-key-compare_pairs [data-testid=stDataFrame]").last
    rows.scroll_into_view_if_needed()
    rows.click(position={"x": TICK_X, "y": FIRST_ROW_Y})
    page.locator(".st-key-compare_open a").first.click()
    expect(page.get_by_text(changed[0]["sample_id"]).first).to_be_visible()
    assert f"run={pair[0]}" in page.url
    assert "sample=" in page.url
    expect(page.get_by_test_id("stException")).to_have_count(0)
