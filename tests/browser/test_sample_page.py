"""One clip in the browser: FLV and MPEG-4 clips, which browsers do not know, play; what the model gets is seen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import violations
from tests.stack.driving import Api, tiny_spec
from tests.worker.media.clips import make_clip

pytestmark = [pytest.mark.stack, pytest.mark.browser]
PREPROCESS = {
    "duration_s": 0.6, "sample_rate_hz": 8_000, "num_mels": 32, "fft_samples": 256, "hop_samples": 128,
    "num_frames": 3, "frame_size": 32, "crop_size": 32, }  # fmt: skip
NEXT_CHART = "xpath=following::*[name()='svg' and contains(@class, 'marks')][1]"
CODECS = {"flv": ("flv", "pcm_s16le", 44_100), "avi": ("mpeg4", "pcm_s16le", 16_000)}


@pytest.fixture(scope="module")
def finished(api: Api, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run on a folder of FLV and AVI clips."""
    folder = tmp_path_factory.mktemp("old clips")
    for split, count in (("train", 6), ("validation", 2), ("test", 2)):
        for place, label in enumerate(("dog", "emu")):
            (folder / split / label).mkdir(parents=True)
            for index in range(count):
                suffix = "flv" if index % 2 == 0 else "avi"
                video, audio, rate = CODECS[suffix]
                path = folder / split / label / f"{index}.{suffix}"
                pitch_hz = 300.0 + 900 * place + 20 * index
                make_clip(path, seconds=0.8, video=video, audio=audio, rate=rate, tone_hz=pitch_hz, fps=20 + index)
    dataset = {"kind": "folder", "path": str(folder), "preprocess": PREPROCESS}
    run_id = api.launch(tiny_spec(dataset=dataset, epochs=1, batch_size=4))
    api.wait_for_state(run_id, {"finished"}, timeout_s=120)
    return run_id


def test_a_clip_plays_and_what_the_model_gets_is_shown(
    page: Page, stack: Any, api: Api, finished: str, scheme: str
) -> None:
    page.goto(f"{stack.ui_url}/run?run={finished}&tab=Samples")
    player = page.get_by_test_id("stVideo").first
    page.wait_for_function("document.querySelector('[data-testid=stVideo]')?.readyState >= 1")
    moved = player.evaluate(
        """async one => {
             one.muted = true;
             await one.play();
             await new Promise(done => one.addEventListener('ended', done, { once: true }));
             return [one.duration, one.currentTime, one.webkitAudioDecodedByteCount, one.videoWidth];
           }"""
    )
    assert moved[0] == pytest.approx(0.8, abs=0.15)
    assert moved[1] == pytest.approx(moved[0], abs=0.05)
    assert moved[2] > 0  # sound was decoded
    assert moved[3] == 64
    strip = page.locator("[data-testid=stImage] img").first
    expect(strip).to_be_visible()
    assert strip.evaluate("one => [one.naturalWidth, one.naturalHeight]") == [3 * 32, 32]
    for name in ("spectrogram", "waveform"):
        expect(page.locator(f"[class*=st-key-head_chart_clip_{name}]").locator(NEXT_CHART)).to_be_visible()
    expect(page.get_by_text("The model gets 0.10 to 0.70 s of the clip; frames at 0.20, 0.40, 0.60 s.")).to_be_visible()

    assert not violations(page)
    _playhead_follows_press_and_keys(page)

    first = page.url
    page.get_by_role("button", name="Next clip").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("sample="))
    page.wait_for_function("old => location.href !== old", arg=first)
    expect(page.get_by_role("button", name="Previous clip")).to_be_enabled()
    expect(page.get_by_test_id("stException")).to_have_count(0)


def _playhead_follows_press_and_keys(page: Page) -> None:
    player = page.get_by_test_id("stVideo").first
    head = page.get_by_role("slider", name="Position in the clip")
    plot = page.locator(".st-key-clip_spectrogram svg .root > g > path.background").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(head).to_have_attribute("aria-valuetext", re.compile(r"^0\.4\d s of 0\."))  # of 0.1 to 0.7 s, the middle
    line = page.locator(".playhead .line").nth(1).bounding_box()
    assert line is not None
    assert line["x"] + line["width"] / 2 == pytest.approx(box["x"] + box["width"] / 2, abs=8)
    assert line["height"] == pytest.approx(box["height"], abs=1)
    head.focus()
    page.keyboard.press("ArrowLeft")
    expect(head).to_have_attribute("aria-valuetext", re.compile(r"^0\.3\d s"))
    page.keyboard.press("Home")
    expect(head).to_have_attribute("aria-valuenow", "0.00")
    page.keyboard.press(" ")
    expect(head).not_to_have_attribute("aria-valuenow", "0.00")  # it runs with the player
    player.evaluate("one => one.pause()")


def test_clips_of_a_run_are_posters_with_three_verdicts(
    page: Page, stack: Any, api: Api, finished: str, scheme: str
) -> None:
    page.goto(f"{stack.ui_url}/run?run={finished}&tab=Samples&samples_view=Posters")
    rows = api.get(f"/runs/{finished}/samples", split="validation", limit=50)["items"]
    cards = page.locator(".card")
    expect(cards).to_have_count(len(rows))
    for row in rows:
        card = page.locator(f".card[data-id='{row['sample_id']}']")
        for name in ("fused", "audio", "visual"):
            said = "right" if row["predicted"][name] == row["label"] else "wrong"
            expect(card.get_by_label(f"{name.capitalize()}: {said}")).to_be_visible()
    expect(cards.first.locator("img")).to_have_js_property("naturalWidth", 32)
    assert not violations(page)
    cards.nth(2).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("sample="))
    expect(cards.nth(2)).to_have_attribute("aria-pressed", "true")


def test_posters_of_a_dataset_load_without_a_player_and_are_chosen_by_keyboard(
    page: Page, stack: Any, api: Api, finished: str
) -> None:
    dataset = api.get(f"/runs/{finished}")["resolved_spec"]["dataset_id"]
    page.goto(f"{stack.ui_url}/datasets?dataset={dataset}")
    cards = page.locator(".card")
    expect(cards.nth(19)).to_be_visible()
    expect(cards.first.locator("img")).to_have_js_property("naturalWidth", 32)
    expect(page.locator(".card video")).to_have_count(0)
    cards.nth(2).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("clip="))
    expect(cards.nth(2)).to_have_attribute("aria-pressed", "true")
    assert Path(stack.home / "derived").is_dir()
