from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from worker.contract.spec.datasets import AvDigits
from worker.datasets import av_digits_clip
from worker.datasets.av_digits import AvDigitsDataset
from worker.datasets.av_digits_clip import make_clip
from worker.datasets.source import check_listing, load_source
from worker.media.decode import decode_clip

SPEC = AvDigits(num_train=100, num_validation=20, num_test=40)


def test_no_image_stands_in_two_splits() -> None:
    spec = AvDigits()
    listing = AvDigitsDataset(spec).list(Path("clips"))
    groups = [entry.group for entry in listing.entries]
    assert len(set(groups)) == len(groups) == 1_750
    assert Counter(entry.split for entry in listing.entries) == {"train": 1_000, "validation": 150, "test": 600}


def test_the_same_seed_gives_the_same_clips_and_another_seed_others() -> None:
    one, same = (AvDigitsDataset(SPEC).list(Path("clips")) for _ in range(2))
    other = AvDigitsDataset(SPEC.model_copy(update={"seed": 1})).list(Path("clips"))
    assert one == same
    assert [entry.sample_id for entry in one.entries] != [entry.sample_id for entry in other.entries]


def test_classes_are_even_in_every_split_and_small_ones_hold_all_classes() -> None:
    listing = load_source(AvDigits(num_train=50, num_validation=20, num_test=20)).list(Path("clips"))
    check_listing(listing)
    counts = Counter((entry.split, entry.label) for entry in listing.entries)
    assert all(4 <= counts["train", str(digit)] <= 6 for digit in range(10))


def test_the_truth_of_corruption_is_recorded_in_exact_shares() -> None:
    spec = SPEC.model_copy(update={"corrupted_audio": 0.1, "corrupted_visual": 0.1})
    listing = AvDigitsDataset(spec).list(Path("clips"))
    counts = Counter((entry.split, entry.notes["corrupted"]) for entry in listing.entries)
    assert counts["train", "audio"] == counts["train", "visual"] == 10
    assert counts["test", "audio"] == 4
    assert counts["train", "none"] == 80


def test_a_clip_is_real_h264_and_aac_and_made_alike_each_time(tmp_path: Path) -> None:
    entry = AvDigitsDataset(SPEC).list(tmp_path).entries[0]
    make_clip(entry.path, entry.recipe)
    again = tmp_path / "again.mp4"
    make_clip(again, entry.recipe)
    assert again.read_bytes() == entry.path.read_bytes()
    with av.open(str(entry.path)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
    assert not list(entry.path.parent.glob(".*partial"))


@pytest.mark.parametrize("corrupted", ["none", "audio", "visual"])
def test_the_noise_survives_the_codec(tmp_path: Path, corrupted: str) -> None:
    listing = AvDigitsDataset(SPEC).list(tmp_path)
    entry = next(entry for entry in listing.entries if entry.notes["corrupted"] == corrupted)
    make_clip(entry.path, entry.recipe)
    clip = decode_clip(entry.path, SPEC.preprocess)
    recipe = json.loads(entry.recipe)
    rng = np.random.Generator(np.random.Philox(key=[recipe["seed"], 1 + recipe["image"]]))
    ink = np.asarray(recipe["pixels"], float).reshape(8, 8) / 16 * (corrupted != "visual")
    drawn = av_digits_clip._draw(ink, SPEC.visual_noise, rng)[[1, 4], ::4, ::4].astype(float)
    assert clip.frames is not None
    assert np.abs(clip.frames[..., 0] - drawn).mean() < 4
    assert clip.frames.std() == pytest.approx(drawn.std(), rel=0.05)
    assert clip.waveform is not None
    sound = av_digits_clip._sound(recipe["digit"], SPEC.audio_noise, rng, tone=corrupted != "audio")
    assert np.corrcoef(clip.waveform, sound)[0, 1] > 0.98
    assert clip.duration_s == pytest.approx(0.5, abs=0.01)


def test_without_noise_the_tone_is_the_keypads(tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"audio_noise": 0.0, "corrupted_audio": 0.0})
    for entry in AvDigitsDataset(spec).list(tmp_path).entries[:6]:
        make_clip(entry.path, entry.recipe)
        waveform = decode_clip(entry.path, spec.preprocess).waveform
        spectrum = np.abs(np.fft.rfft(waveform * np.hanning(4_000)))
        row, column = av_digits_clip._KEYPAD[int(entry.label)]
        assert spectrum[:530].argmax() * 2 == pytest.approx(av_digits_clip._ROWS_HZ[row], abs=4)
        assert (530 + spectrum[530:].argmax()) * 2 == pytest.approx(av_digits_clip._COLUMNS_HZ[column], abs=4)
