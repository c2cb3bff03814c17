"""What people do in the browser: launch a run, watch it, open a sample, test a clip."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.bench.scoring import write_clip
from tests.browser.accessibility import unnamed_charts, violations
from tests.stack.driving import Api, tiny_spec

pytestmark = [pytest.mark.stack, pytest.mark.browser]


@pytest.fixture(scope="module")
def finished(api: Api) -> dict[str, Any]:
    """A finished run to look at."""
    return api.wait_for_state(api.launch(tiny_spec(name="a finished run")), {"finished"})


def no_exception(page: Page) -> None:
    """Fails when the page shows a traceback."""
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_run_is_launched_from_the_form_and_its_epochs_arrive(page: Page, stack: Any, api: Api) -> None:
    page.goto(f"{stack.ui_url}/new_run?preset=demo-joint")
    sizes = {"Training clips": "120", "Validation clips": "30", "Test clips": "40", "Epochs": "3", "Batch size": "20"}
    for field, value in sizes.items():
        box = page.get_by_role("spinbutton", name=field)
        box.fill(value)
        box.press("Enter")
    page.get_by_role("button", name="Launch").click()
    page.wait_for_url(re.compile(r"/run\?.*run=run-"))
    expect(page.get_by_text("What epoch 3 says")).to_be_visible(timeout=90_000)
    expect(page.locator("svg.marks").first).to_be_visible()
    run = re.search(r"run=(run-[\w-]+)", page.url)
    assert run is not None
    launched = api.wait_for_state(run.group(1), {"finished"})
    assert launched["spec"]["epochs"] == 3
    assert launched["spec"]["dataset"]["num_train"] == 120
    expect(page.get_by_text("Finished").first).to_be_visible()
    no_exception(page)


def test_accuracy_on_the_page_is_that_of_the_event(page: Page, stack: Any, api: Api, finished: dict[str, Any]) -> None:
    page.goto(f"{stack.ui_url}/run?run={finished['id']}")
    accuracy = api.events(finished["id"])[-2]["validation"]["accuracy"]["fused"]
    expect(page.get_by_test_id("stMetricValue").filter(has_text=f"{accuracy * 100:.1f}").first).to_be_visible()
    no_exception(page)


def test_sample_is_opened_and_its_clip_can_be_played(
    page: Page, stack: Any, api: Api, finished: dict[str, Any]
) -> None:
    worst = api.get(f"/runs/{finished['id']}/samples", sort="gap", limit=1)["items"][0]["sample_id"]
    page.goto(f"{stack.ui_url}/run?run={finished['id']}&tab=Samples&sample={worst}")
    video = page.locator("video").first
    video.wait_for()
    expect(page.get_by_text(worst).first).to_be_visible()
    page.wait_for_function("document.querySelector('video').readyState >= 1")
    assert video.evaluate("element => element.duration") == pytest.approx(0.5, abs=0.2)
    no_exception(page)


def test_range_dragged_on_the_histogram_shows_the_clips_of_that_range(
    page: Page, stack: Any, api: Api, finished: dict[str, Any]
) -> None:
    path = f"{stack.ui_url}/run?run={finished['id']}&tab=Samples&samples_view=Posters&split=train"
    page.goto(path)
    bars = page.locator("[class*=st-key-panel_brush] svg.marks")
    expect(page.locator(".card").first).to_be_visible()
    bars.scroll_into_view_if_needed()
    box = bars.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.45 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.95 * box["width"], middle, steps=5)
    page.mouse.up()
    expect(page.get_by_role("button", name="All gaps")).to_be_visible()
    page.wait_for_url(re.compile("gap_min="))
    asked = parse_qs(urlsplit(page.url).query)
    low, high = float(asked["gap_min"][0]), float(asked["gap_max"][0])
    assert -0.4 < low < high <= 1
    found = api.get(
        f"/runs/{finished['id']}/samples", split="train", min_gap=low, max_gap=high, sort="-abs_gap", limit=25
    )
    assert 0 < found["total"] < 120
    shown = page.locator(".card")
    expect(page.get_by_text(re.compile(rf"^{found['total']} clips? with these filters"))).to_be_visible()
    expect(shown).to_have_count(len(found["items"]))
    ids = {one.get_attribute("data-id") for one in shown.all()}
    assert ids == {row["sample_id"] for row in found["items"]}

    page.get_by_role("button", name="All gaps").click()
    expect(page.get_by_text("Drag over the histogram")).to_be_visible()
    assert "gap_min" not in page.url


def test_clip_is_uploaded_and_its_scores_are_shown(
    page: Page, stack: Any, finished: dict[str, Any], tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "own clip.mp4", seconds=1.0)
    page.goto(f"{stack.ui_url}/test_clip?run={finished['id']}")
    page.get_by_label("Clip", exact=True).set_input_files(clip)
    page.get_by_role("button", name="Upload and score").click()
    expect(page.locator("video").first).to_be_visible()
    expect(page.locator("svg.marks").first).to_be_visible()
    expect(page.get_by_text("Fused").first).to_be_visible()
    no_exception(page)


def test_upload_that_is_no_clip_is_refused_in_words(
    page: Page, stack: Any, finished: dict[str, Any], tmp_path: Path
) -> None:
    text = tmp_path / "letter.mp4"
    text.write_text("Dear model, this is no film.")
    page.goto(f"{stack.ui_url}/test_clip?run={finished['id']}")
    page.get_by_label("Clip", exact=True).set_input_files(text)
    page.get_by_role("button", name="Upload and score").click()
    expect(page.get_by_test_id("stAlert").first).to_be_visible()
    no_exception(page)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("runs", "Runs"),
        ("runs?view=trash", "Trash"),
        ("new_run", "New run"),
        ("run?run={run}", "What epoch"),
        ("run?run={run}&tab=Samples", "Score of the true class"),
        ("run?run={run}&tab=Log", "epoch 1 of"),
        ("run?run={run}&tab=Configuration", "gmm-adaptive"),
        ("compare?runs={run}", "Compare"),
        ("test_clip?run={run}", "What you will see"),
        ("datasets", "av-digits"),
        ("system", "train"),
    ],
)
def test_every_page_is_drawn_in_both_themes(
    path: str, words: str, scheme: str, page: Page, stack: Any, finished: dict[str, Any]
) -> None:
    page.goto(f"{stack.ui_url}/{path.format(run=finished['id'])}")
    expect(page.get_by_text(words).first).to_be_visible()
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=20_000)  # eighty fields on a busy machine
    no_exception(page)
    assert violations(page) == []
    assert unnamed_charts(page) == 0
