"""Test a clip in the browser: several clips at once, a clip of the dataset; what is shown is what the API says."""

from __future__ import annotations

import re
import wave
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from frontend.ui import words
from tests.bench.scoring import write_clip
from tests.stack.driving import Api, tiny_spec

pytestmark = [pytest.mark.stack, pytest.mark.browser]


@pytest.fixture(scope="module")
def finished(api: Api) -> str:
    """A run with a model."""
    run_id = api.launch(tiny_spec(epochs=1))
    api.wait_for_state(run_id, {"finished"}, timeout_s=90)
    return run_id


def test_several_clips_and_a_sample_are_scored_and_shown_as_the_api_has_them(
    page: Page, stack: Any, api: Api, finished: str, tmp_path: Path, scheme: str
) -> None:
    clips = [write_clip(tmp_path / f"{scheme}-{number}.mp4", seconds=0.5) for number in range(2)]
    sound = clips[0].with_suffix(".wav")
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", "not compressed"))
        file.writeframes(bytes(8_000))
    broken = tmp_path / "letter.mp4"
    broken.write_text("Dear model, this is no film.")
    before = len(api.get("/scores", run_id=finished)["items"])
    page.goto(f"{stack.ui_url}/test_clip?run={finished}")
    page.get_by_label("Clip", exact=True).set_input_files([*clips, sound, broken])
    page.get_by_role("button", name="Upload and score").click()
    expect(page.get_by_text("2 of 3 clips uploaded.")).to_be_visible()
    expect(page.get_by_text("letter.mp4").first).to_be_visible()
    expect(page.locator("video").first).to_be_visible()  # the last one is open
    made = api.get("/scores", run_id=finished)["items"]
    assert len(made) == before + 2
    assert made[0]["id"] in page.url
    assert sorted(api.get(f"/scores/{made[1]['id']}")["media"]) == ["audio", "video"]
    assert list(api.get(f"/scores/{made[0]['id']}")["media"]) == ["video"]

    sample = api.get(f"/runs/{finished}/samples", sort="-abs_gap", limit=1)["items"][0]["sample_id"]
    page.goto(f"{stack.ui_url}/test_clip?run={finished}&sample={sample}")
    page.get_by_role("button", name="Score it").click()
    page.wait_for_url(re.compile(r"[?&]score="))
    expect(page.get_by_text("This clip among the training clips")).to_be_visible()
    shown = api.get(f"/scores/{parse_qs(urlsplit(page.url).query)['score'][0]}")
    result = shown["result"]
    assert shown["sample_id"] == sample
    fused, predicted = result["probabilities"], result["predicted"]
    assert result["gap"] == pytest.approx(fused["audio"][shown["label"]] - fused["visual"][shown["label"]], abs=1e-5)
    said = f"“{predicted['fused']}”, {words.percent(fused['fused'][predicted['fused']])}"
    expect(page.get_by_role("heading", name=said)).to_be_visible()
    expect(page.get_by_test_id("stMetricValue").first).to_have_text(words.signed(result["gap"]))
    change = result["knock_out_changes"]["mute"]["fused"][predicted["fused"]]
    expect(page.get_by_role("cell", name=words.points(change)).first).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)
