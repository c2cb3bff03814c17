"""Datasets in the browser: a zip is uploaded and prepared, its clips play, leaks and broken clips are told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.zips import write_zip
from tests.stack.driving import Api, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.browser]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of real clips."""
    folder = tmp_path_factory.mktemp("clips")
    return write_zip(folder / "my clips.zip", folder)


def test_a_zip_is_uploaded_prepared_and_looked_at(page: Page, stack: Any, api: Api, clips: Path, scheme: str) -> None:
    name = f"mine-{scheme}"
    page.goto(f"{stack.ui_url}/datasets")
    page.get_by_role("button", name="Register").click()
    page.get_by_text("A zip from this computer").click()
    page.get_by_label("Id of the dataset").fill(name)
    page.get_by_label("Zip of clips").set_input_files(clips)
    page.get_by_role("button", name="Upload and prepare").click()
    page.wait_for_url(re.compile(f"dataset={name}"))
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    wait_for(lambda: api.get(f"/datasets/{name}")["state"] == "ready", "the clips are prepared")
    expect(page.locator(".card").first).to_be_visible()
    shown = api.get(f"/datasets/{name}")
    assert (shown["num_samples"], shown["num_skipped"]) == (17, 2)
    page.locator(".card").nth(1).click()
    page.wait_for_url(re.compile("clip="))
    video = page.locator("[data-testid=stVideo]").first
    page.wait_for_function("document.querySelector('[data-testid=stVideo]')?.readyState >= 1")
    assert video.evaluate("async one => { one.muted = true; await one.play(); return one.duration }") > 0.4
    page.get_by_role("tab", name="Quality").click()
    expect(page.get_by_text("1 of 5 test clips have the same content as training clips.").first).to_be_visible()
    expect(page.get_by_test_id("stVideo")).to_have_count(2)
    page.get_by_role("tab", name="Left out").click()
    expect(page.get_by_text("2 clips left out; runs train on the rest.")).to_be_visible()
    assert {clip["code"] for clip in api.get(f"/datasets/{name}/skipped")["items"]} == {
        "media-no-audio",
        "media-not-decodable",
    }
    expect(page.get_by_role("link", name="All of them as CSV")).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_a_path_that_holds_no_corpus_says_what_is_expected_where(page: Page, stack: Any, tmp_path: Path) -> None:
    (tmp_path / "AudioWAV").mkdir()
    page.goto(f"{stack.ui_url}/datasets")
    page.get_by_role("button", name="Register").click()
    page.get_by_role("combobox", name="Kind").click()
    page.get_by_role("option", name=re.compile("CREMA-D")).click()
    expect(page.get_by_role("textbox", name="Audio folder")).to_be_visible()  # the form is CREMA-D's by now
    box = page.get_by_role("textbox", name="Path")
    box.fill(str(tmp_path))
    box.press("Enter")
    page.get_by_role("button", name="Check the path").click()
    expect(page.get_by_text(f"{tmp_path}/VideoFlash")).to_be_visible()
