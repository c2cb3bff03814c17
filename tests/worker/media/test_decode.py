from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.worker.media.clips import grey_of, make_clip
from worker.contract.errors import MediaError
from worker.contract.spec.preprocess import PreprocessSpec
from worker.media.container import DecodeLimits
from worker.media.decode import decode_clip, decode_windows, window_starts

SPEC = PreprocessSpec(duration_s=1.0, sample_rate_hz=16_000, num_frames=4, frame_size=32, crop_size=32)


def tone_of(waveform: np.ndarray, rate_hz: int = 16_000) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(spectrum.argmax() * rate_hz / len(waveform))


def greys(frames: np.ndarray) -> np.ndarray:
    return frames.reshape(len(frames), -1).mean(axis=1)


@pytest.mark.parametrize(
    ("name", "video", "audio", "rate"),
    [
        ("a.mp4", "libx264", "aac", 16_000),
        ("a.mov", "libx264", "aac", 44_100),
        ("a.mkv", "libx264", "libopus", 48_000),
        ("a.webm", "libvpx-vp9", "libopus", 48_000),
        ("a.avi", "mpeg4", "libmp3lame", 44_100),
        ("a.flv", "flv", "libmp3lame", 44_100),
        ("a.ts", "libx264", "aac", 48_000),
    ],
)
def test_reads_the_usual_containers(tmp_path: Path, name: str, video: str, audio: str, rate: int) -> None:
    clip = decode_clip(make_clip(tmp_path / name, video=video, audio=audio, rate=rate), SPEC)
    assert clip.waveform is not None
    assert clip.waveform.shape == (16_000,)
    assert clip.waveform.dtype == np.float32
    assert tone_of(clip.waveform) == pytest.approx(440, abs=5)
    assert clip.frames is not None
    assert clip.frames.shape == (4, 32, 32, 3)
    assert clip.frames.dtype == np.uint8
    expected = [grey_of(t, 1.0, 25) for t in (0.125, 0.375, 0.625, 0.875)]
    assert greys(clip.frames) == pytest.approx(expected, abs=14)
    assert clip.duration_s == pytest.approx(1.0, abs=0.15)
    assert (clip.info.width, clip.info.height, clip.info.sample_rate_hz) == (64, 48, rate)
    assert not clip.notes


def test_takes_exactly_the_frames_that_a_full_decode_shows(tmp_path: Path) -> None:
    # B-frames, several groups of pictures, frames that are skipped by the decoder: the result must be the same.
    path = tmp_path / "b.mp4"
    options = {"g": "12", "bf": "3", "preset": "medium", "crf": "5"}
    make_clip(path, seconds=4.0, options=options, audio=None, size=(32, 32))
    with av.open(str(path)) as container:
        all_frames = {frame.time: frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)}
    spec = SPEC.model_copy(update={"num_frames": 7, "duration_s": 4.0})
    clip = decode_clip(path, spec)
    assert clip.frames is not None
    for index, frame in enumerate(clip.frames):
        shown = max(time for time in all_frames if time <= (index + 0.5) * 4.0 / 7 + 1e-4)
        assert np.abs(frame.astype(int) - all_frames[shown].astype(int)).max() <= 2


def test_sees_the_middle_of_a_longer_clip(tmp_path: Path) -> None:
    clip = decode_clip(make_clip(tmp_path / "a.mp4", seconds=5.0), SPEC)
    assert clip.start_s == pytest.approx(2.0, abs=0.05)
    assert not clip.padded
    assert clip.frames is not None
    expected = [grey_of(2 + t, 5.0, 25) for t in (0.125, 0.375, 0.625, 0.875)]
    assert greys(clip.frames) == pytest.approx(expected, abs=5)


def test_the_start_of_a_longer_clip_with_one_frame_a_second(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=6.0)
    spec = PreprocessSpec(
        duration_s=3.0, num_frames=2, frame_size=48, crop_size=48, window="start", frame_choice="one-fps"
    )
    decoded = decode_clip(clip, spec)
    assert decoded.start_s == pytest.approx(0.0, abs=0.05)
    assert greys(decoded.frames) == pytest.approx([grey_of(0.5, 6.0, 25), grey_of(1.5, 6.0, 25)], abs=3)


def test_frames_at_one_a_second_end_with_the_clip(tmp_path: Path) -> None:
    spec = PreprocessSpec(duration_s=3.0, num_frames=3, frame_size=48, crop_size=48, frame_choice="one-fps")
    frames = decode_clip(make_clip(tmp_path / "clip.mp4", seconds=1.0), spec).frames
    assert frames is not None
    assert np.array_equal(frames[1], frames[2])  # both after the end: the last one


def test_a_squeezed_picture_keeps_its_borders(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        pixels = np.zeros((64, 128, 3), np.uint8)
        pixels[:, :16] = 255
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    spec = PreprocessSpec(duration_s=0.5, num_frames=1, frame_size=32, crop_size=32)
    cut = decode_clip(path, spec).frames
    squeezed = decode_clip(path, spec.model_copy(update={"frame_fit": "squeeze"})).frames
    assert cut is not None
    assert squeezed is not None
    assert cut.shape == squeezed.shape == (1, 32, 32, 3)
    assert cut[0, :, 0].max() < 60
    assert squeezed[0, :, :3].min() > 200


def test_repeats_the_sound_and_spreads_the_frames_of_a_shorter_clip(tmp_path: Path) -> None:
    clip = decode_clip(make_clip(tmp_path / "a.mp4", seconds=0.4, audio="aac"), SPEC)
    assert clip.padded
    assert clip.waveform is not None
    assert np.abs(clip.waveform[8_000:]).max() > 0.3
    piece = round(0.4 * 16_000)
    assert np.allclose(clip.waveform[:1_000], clip.waveform[piece : piece + 1_000])
    assert clip.frames is not None
    assert np.all(np.diff(greys(clip.frames)) > 10)


def test_uses_the_part_that_start_and_end_name(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", seconds=5.0)
    clip = decode_clip(path, SPEC, start_s=3.0, end_s=4.0)
    assert clip.frames is not None
    expected = [grey_of(3 + t, 5.0, 25) for t in (0.125, 0.375, 0.625, 0.875)]
    assert greys(clip.frames) == pytest.approx(expected, abs=5)
    with pytest.raises(MediaError) as caught:
        decode_clip(path, SPEC, start_s=9.0)
    assert caught.value.code == "media-bad-range"


def test_takes_any_rate_size_and_channels(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", fps=7, size=(94, 210), rate=44_100, layout="stereo", seconds=2.0)
    clip = decode_clip(path, SPEC)
    assert clip.waveform is not None
    assert tone_of(clip.waveform) == pytest.approx(440, abs=5)
    assert np.abs(clip.waveform).max() == pytest.approx(0.5, abs=0.1)
    assert clip.info.frames_per_s == pytest.approx(7)
    ntsc = make_clip(tmp_path / "b.mkv", fps=Fraction(30_000, 1_001), size=(18, 16))
    assert decode_clip(ntsc, SPEC).info.frames_per_s == pytest.approx(29.97, abs=0.01)


def test_a_long_slow_video_gives_its_middle(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "slow.mp4", seconds=90.0, fps=1, rate=8_000)
    clip = decode_clip(path, SPEC)
    assert clip.start_s == pytest.approx(44.5, abs=0.1)
    assert clip.frames is not None
    assert greys(clip.frames) == pytest.approx([grey_of(44.6, 90, 1)] * 2 + [grey_of(45.1, 90, 1)] * 2, abs=4)


def test_one_track_alone_leaves_the_other_none(tmp_path: Path) -> None:
    silent = decode_clip(make_clip(tmp_path / "v.mp4", audio=None), SPEC)
    assert silent.waveform is None
    assert silent.frames is not None
    blind = decode_clip(make_clip(tmp_path / "a.m4a", video=None), SPEC)
    assert blind.frames is None
    assert blind.waveform is not None


def test_takes_the_sound_from_a_file_beside_the_video(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "v.flv", video="flv", audio=None)
    sound = make_clip(tmp_path / "v.wav", video=None, audio="pcm_s16le", tone_hz=880.0)
    clip = decode_clip(video, SPEC, audio_path=sound)
    assert clip.waveform is not None
    assert clip.frames is not None
    assert tone_of(clip.waveform) == pytest.approx(880, abs=5)
    with pytest.raises(MediaError) as caught:
        decode_clip(video, SPEC, audio_path=video)
    assert caught.value.code == "media-no-streams"


def test_a_large_file_is_read_in_part(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", seconds=20.0, options={"g": "25"})
    whole = decode_clip(path, SPEC)
    part = decode_clip(path, SPEC, limits=DecodeLimits(in_memory_bytes=0))
    assert part.frames is not None
    assert part.waveform is not None
    assert np.array_equal(whole.frames, part.frames)
    # Lossy codecs carry state from before the window: equal but for the first preroll's rest.
    assert np.abs(part.waveform - whole.waveform).max() < 0.02


def test_windows_over_time_are_in_order_and_cover_the_clip(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", seconds=4.0)
    middle, *windows = decode_windows(path, SPEC, max_windows=7)
    assert np.array_equal(middle.frames, decode_clip(path, SPEC).frames)
    starts = [window.start_s for window in windows]
    assert starts == pytest.approx(np.linspace(0, 3, 7), abs=0.05)
    assert np.all(np.diff([greys(window.frames).mean() for window in windows]) > 0)
    assert all(window.waveform is not None for window in windows)
    assert len(decode_windows(make_clip(tmp_path / "b.mp4"), SPEC, max_windows=7)) == 1


def test_the_hop_sets_where_windows_begin_and_the_last_ends_with_the_clip() -> None:
    assert window_starts(4.0, 1.0, 120) == ([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0], None)
    assert window_starts(4.25, 1.0, 120, 2.0) == ([0.0, 2.0, 3.25], None)
    assert window_starts(4.0, 1.0, 120, 60.0) == ([0.0, 3.0], None)
    assert window_starts(1.02, 1.0, 120) == ([], None)


def test_more_windows_than_allowed_are_thinned_evenly_and_a_note_says_so(tmp_path: Path) -> None:
    starts, note = window_starts(601.0, 1.0, 121, 0.5)
    assert starts == pytest.approx(np.arange(0, 601, 5))
    assert note is not None
    assert "1,201" in note
    clips = decode_windows(make_clip(tmp_path / "a.mp4", seconds=4.0), SPEC, max_windows=4, hop_s=0.25)
    assert len(clips) == 5
    assert any("would make 13; at most 4" in note for note in clips[0].notes)


def test_a_window_without_sound_is_silent_not_missing(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "v.mp4", seconds=6.0, audio=None)
    sound = make_clip(tmp_path / "v.wav", seconds=0.5, video=None, audio="pcm_s16le")
    clips = decode_windows(video, SPEC, audio_path=sound, max_windows=5)
    assert all(clip.waveform is not None for clip in clips)
    assert not clips[-1].waveform.any()


def test_a_file_that_was_cut_off_says_where_it_ends(tmp_path: Path) -> None:
    whole = make_clip(
        tmp_path / "a.mp4", seconds=3.0, container_options={"movflags": "faststart"}, options={"crf": "1"}
    )
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    clip = decode_clip(cut, SPEC.model_copy(update={"duration_s": 3.0}))
    assert clip.duration_s < 2.8
    assert any("ends early at" in note and "of 3.0 s" in note for note in clip.notes)


def test_turns_a_rotated_video_upright(tmp_path: Path) -> None:
    # Left half black, right half white; a quarter turn makes it top and bottom.
    path = tmp_path / "r.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[:, 32:] = 255
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    upright = bytes.fromhex(
        "00010000000000000000000000000000000100000000000000000000000000004000 0000".replace(" ", "")
    )
    turned = bytes.fromhex("000000000001000000000000ffff0000000000000000000000000000000000004000 0000".replace(" ", ""))
    quarter = (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    turned = b"".join(int(value).to_bytes(4, "big", signed=True) for value in quarter)
    head, _, track = data.partition(b"tkhd")
    assert upright in track
    path.write_bytes(head + b"tkhd" + track.replace(upright, turned, 1))
    clip = decode_clip(path, SPEC)
    assert clip.frames is not None
    top, bottom = clip.frames[0, :12].mean(), clip.frames[0, -12:].mean()
    assert top < 40  # players show it so: 90 degrees clockwise
    assert bottom > 215


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "media-empty"),
        (b"hello, this is text\n" * 50, "media-not-decodable"),
        (os.urandom(5_000), "media-not-decodable"),
    ],
)
def test_what_is_no_clip_is_refused_with_a_code(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError) as caught:
        decode_clip(path, SPEC)
    assert caught.value.code == code


def test_missing_files_folders_and_playlists_are_refused(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4")
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n")
    concat = tmp_path / "list.txt"
    concat.write_text(f"ffconcat version 1.0\nfile {clip}\n")
    codes = []
    for path in (tmp_path / "none.mp4", tmp_path, playlist, concat):
        with pytest.raises(MediaError) as caught:
            decode_clip(path, SPEC)
        codes.append(caught.value.code)
    assert codes == ["media-not-found", "media-not-decodable", "media-not-decodable", "media-not-decodable"]


def test_limits_on_pixels_and_length(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", seconds=3.0)
    for limits, code in (
        (DecodeLimits(max_pixels=1_000), "media-too-large"),
        (DecodeLimits(max_duration_s=2.0), "media-too-long"),
    ):
        with pytest.raises(MediaError) as caught:
            decode_clip(path, SPEC, limits=limits)
        assert caught.value.code == code


def test_cover_art_is_no_picture_track(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp3", video=None, audio="libmp3lame", rate=44_100)
    assert decode_clip(path, SPEC).frames is None


def test_damaged_bytes_never_raise_anything_but_media_errors(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "a.mkv", seconds=1.0, audio="libopus", rate=48_000).read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(30):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 40):
            data[place] = int(rng.integers(256))
        path = tmp_path / f"{trial}.mkv"
        path.write_bytes(data)
        try:
            clip = decode_clip(path, SPEC)
        except MediaError:
            continue
        assert clip.frames is None or clip.frames.shape == (4, 32, 32, 3)
        assert clip.waveform is None or np.isfinite(clip.waveform).all()


def test_decoding_needs_no_torch() -> None:
    code = "import worker.media.child, worker.media.wire, worker.media.warm, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
