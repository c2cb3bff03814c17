from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.worker.media.clips import make_clip, make_exact_clip
from worker.contract.errors import MediaError
from worker.contract.quality import FLAGS, METRICS
from worker.contract.spec.preprocess import PreprocessSpec
from worker.media.container import DecodeLimits
from worker.media.decode import DecodedClip
from worker.media.quality import picture_metrics, sound_metrics
from worker.media.sandbox import DecodePool
from worker.media.wire import DecodeJob, Window

RATE = 8_000
WINDOW = Window(duration_s=1.0, sample_rate_hz=RATE, num_samples=RATE, num_frames=5, frame_size=32)
GREY = np.full((10, 32, 32, 3), 128, np.uint8)


def sine(amplitude: float, seconds: float = 1.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * 500 * (np.arange(round(seconds * RATE)) + 0.5) / RATE)


def clip_of(path: Path, *, window: Window = WINDOW, measure: bool = True) -> DecodedClip:
    """Returns what a decoder process says of a file."""
    with DecodePool(1, timeout_s=60.0) as pool:
        [(_, answer)] = pool.run([(0, DecodeJob(str(path), window, DecodeLimits(), measure=measure))])
    assert not isinstance(answer, MediaError), answer
    return answer[0]


def measured(path: Path, *, window: Window = WINDOW) -> dict[str, float | None]:
    quality = clip_of(path, window=window).quality
    assert quality is not None
    return quality.named()


def test_a_tone_has_its_loudness_and_no_other_fault(tmp_path: Path) -> None:
    found = measured(make_exact_clip(tmp_path / "a.mkv", GREY, sine(0.1)))
    assert found["loudness_dbfs"] == pytest.approx(20 * math.log10(0.1 / math.sqrt(2)), abs=0.01)
    assert (found["silence_share"], found["clipped_share"], found["duration_mismatch_s"]) == (0.0, 0.0, 0.0)


def test_silence_is_counted_in_blocks_of_20_ms(tmp_path: Path) -> None:
    half = np.concatenate([np.zeros(RATE // 2), sine(0.5, 0.5)])
    assert measured(make_exact_clip(tmp_path / "half.mkv", GREY, half))["silence_share"] == 0.5
    none = measured(make_exact_clip(tmp_path / "none.mkv", GREY, np.zeros(RATE)))
    assert (none["silence_share"], none["loudness_dbfs"]) == (1.0, -120.0)


def test_clipping_counts_samples_at_full_scale(tmp_path: Path) -> None:
    wave = sine(2.0)
    found = measured(make_exact_clip(tmp_path / "a.mkv", GREY, wave))
    assert found["clipped_share"] == pytest.approx(np.mean(np.abs(wave) >= 0.9999), abs=1e-9)
    assert found["clipped_share"] > 0.5


def test_black_frames_and_brightness(tmp_path: Path) -> None:
    frames = GREY.copy()
    frames[:4] = 10  # the sampled frames are 1, 3, 5, 7 and 9
    found = measured(make_exact_clip(tmp_path / "a.mkv", frames, sine(0.1)))
    assert found["black_share"] == pytest.approx(2 / 5)
    assert found["luminance"] == pytest.approx((2 * 10 + 3 * 128) / 5 / 255, abs=1e-4)
    assert found["sharpness"] == pytest.approx(0.0, abs=1e-6)


def test_motion_and_frozen_frames_are_of_the_sampled_frames(tmp_path: Path) -> None:
    frames = GREY.copy()
    frames[6:] = 178  # between the third and the fourth sampled frame
    found = measured(make_exact_clip(tmp_path / "a.mkv", frames, sine(0.1)))
    assert found["frozen_share"] == pytest.approx(3 / 4)
    assert found["motion"] == pytest.approx(50 / 255 / 4, abs=1e-5)


def test_one_sampled_frame_has_no_motion(tmp_path: Path) -> None:
    one = Window(duration_s=1.0, sample_rate_hz=RATE, num_samples=RATE, num_frames=1, frame_size=32)
    found = measured(make_exact_clip(tmp_path / "a.mkv", GREY, sine(0.1)), window=one)
    assert (found["motion"], found["frozen_share"]) == (None, None)
    assert found["black_share"] == 0.0


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    frames = np.zeros((1, 5, 5, 3), np.uint8)
    frames[0, 2, 2] = 10
    values = np.array([0, 10, 0, 10, -40, 10, 0, 10, 0])  # the Laplacian of one bright pixel, inside a border of 1
    assert picture_metrics(frames)["sharpness"] == pytest.approx(values.var(), rel=1e-5)


def test_tracks_of_unlike_length(tmp_path: Path) -> None:
    longer = make_exact_clip(tmp_path / "a.mkv", np.concatenate([GREY, GREY]), sine(0.1, 1.25))
    assert measured(longer)["duration_mismatch_s"] == pytest.approx(0.75, abs=0.002)
    usual = measured(make_clip(tmp_path / "b.mp4", seconds=1.0))["duration_mismatch_s"]
    assert usual is not None
    assert usual < 0.15  # codecs pad


def test_a_large_file_says_only_what_it_declares(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", seconds=2.0)
    small = DecodeLimits(in_memory_bytes=1)
    with DecodePool(1, timeout_s=60.0) as pool:
        [(_, answer)] = pool.run([(0, DecodeJob(str(path), WINDOW, small, measure=True))])
    assert not isinstance(answer, MediaError)
    assert answer[0].quality is not None
    assert answer[0].quality.named()["duration_mismatch_s"] == pytest.approx(0.0, abs=0.15)


def test_equal_content_has_an_equal_hash_whatever_the_file(tmp_path: Path) -> None:
    first = clip_of(make_exact_clip(tmp_path / "a.mkv", GREY, sine(0.1)))
    again = clip_of(make_exact_clip(tmp_path / "b.nut.mkv", GREY, sine(0.1)))
    other = clip_of(make_exact_clip(tmp_path / "c.mkv", GREY, sine(0.2)))
    assert first.quality is not None
    assert again.quality is not None
    assert other.quality is not None
    assert first.quality.content_hash == again.quality.content_hash != other.quality.content_hash


def test_a_missing_track_has_no_metrics_and_nothing_is_measured_unasked(tmp_path: Path) -> None:
    silent_film = make_clip(tmp_path / "a.mp4", audio=None)
    found = measured(silent_film)
    assert (found["loudness_dbfs"], found["duration_mismatch_s"]) == (None, None)
    assert found["luminance"] is not None
    assert clip_of(silent_film, measure=False).quality is None


def test_sound_shorter_than_a_block_is_one_block() -> None:
    assert sound_metrics(np.zeros(3, np.float32), RATE)["silence_share"] == 1.0


def test_every_flag_has_a_metric_and_every_metric_is_measured() -> None:
    names = {metric.name for metric in METRICS}
    assert {flag.metric for flag in FLAGS} <= names
    spec = PreprocessSpec()
    frames = np.zeros((spec.num_frames, spec.frame_size, spec.frame_size, 3), np.uint8)
    sound = sound_metrics(np.zeros(spec.num_samples, np.float32), spec.sample_rate_hz)
    assert {*sound, *picture_metrics(frames), "duration_mismatch_s"} == names
