from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from tests.worker.datasets.corpus_trees import jpeg_folder
from tests.worker.media.clips import make_clip
from worker.contract.errors import MediaError
from worker.contract.spec.preprocess import PreprocessSpec
from worker.media.decode import decode_clip
from worker.media.pictures import in_frame_order, packed_pictures

SPEC = PreprocessSpec(duration_s=2.0, sample_rate_hz=8_000, num_mels=16, num_frames=4, frame_size=24, crop_size=16)


def greys(frames: np.ndarray) -> list[float]:
    return [float(frame.mean()) for frame in frames]


def test_frames_come_in_the_order_of_their_numbers_however_the_folder_lists_them(tmp_path: Path) -> None:
    folder = jpeg_folder(tmp_path / "clip", [f"frame_{k}.jpg" for k in (10, 2, 1, 9)], [100, 20, 10, 90])
    assert [path.name for path in in_frame_order(folder)] == [f"frame_{k}.jpg" for k in (1, 2, 9, 10)]
    (folder / "Thumbs.db").write_text("no frame")
    sound = make_clip(tmp_path / "clip.wav", seconds=2.0, video=None, audio="pcm_s16le")
    clip = decode_clip(folder, SPEC, audio_path=sound)
    assert clip.frames is not None
    assert greys(clip.frames) == pytest.approx([10, 20, 90, 100], abs=3)


def test_frames_are_spread_over_the_length_of_the_sound(tmp_path: Path) -> None:
    numbers = list(range(1, 13))
    folder = jpeg_folder(tmp_path / "clip", [f"frame_{k:05d}.jpg" for k in numbers], [20 * k for k in numbers])
    sound = make_clip(tmp_path / "clip.wav", seconds=6.0, video=None, audio="pcm_s16le")
    clip = decode_clip(folder, SPEC, audio_path=sound)
    assert clip.duration_s == pytest.approx(6.0, abs=0.05)
    assert clip.start_s == pytest.approx(2.0, abs=0.05)
    assert clip.frames is not None
    # Two frames a second: the window from 2 to 4 s shows frames 5 to 8.
    assert greys(clip.frames) == pytest.approx([100, 120, 140, 160], abs=3)
    assert clip.info.frames_per_s == pytest.approx(2.0, rel=0.01)
    assert (clip.info.width, clip.info.height) == (60, 44)


def test_the_jpegs_are_packed_as_they_are(tmp_path: Path) -> None:
    folder = jpeg_folder(tmp_path / "clip", ["a1.jpg", "a2.JPG"], [50, 150])
    with av.open(io.BytesIO(packed_pictures(folder, None))) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    assert packets == [(folder / "a1.jpg").read_bytes(), (folder / "a2.JPG").read_bytes()]


def test_one_frame_is_shown_all_the_time(tmp_path: Path) -> None:
    folder = jpeg_folder(tmp_path / "clip", ["1.jpg"], [70])
    sound = make_clip(tmp_path / "clip.wav", seconds=2.5, video=None, audio="pcm_s16le")
    clip = decode_clip(folder, SPEC, audio_path=sound)
    assert clip.frames is not None
    assert greys(clip.frames) == pytest.approx([70] * 4, abs=3)


def test_a_folder_that_is_no_clip_says_why(tmp_path: Path) -> None:
    sound = make_clip(tmp_path / "clip.wav", seconds=1.0, video=None, audio="pcm_s16le")
    empty, broken = tmp_path / "empty", tmp_path / "broken"
    for folder in (empty, broken):
        folder.mkdir()
    (empty / "readme.txt").write_text("nothing")
    (broken / "1.jpg").write_bytes(b"no jpeg")
    for folder, reason in ((empty, "holds no JPEG"), (broken, "is no JPEG")):
        with pytest.raises(MediaError, match=reason) as caught:
            decode_clip(folder, SPEC, audio_path=sound)
        assert caught.value.code == "media-not-decodable"
