"""Real media files for tests, made by PyAV: each frame shows its time as grey, the sound is a tone."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def make_clip(
    path: Path,
    *,
    seconds: float = 1.0,
    video: str | None = "libx264",
    audio: str | None = "aac",
    fps: Fraction | int = 25,
    size: tuple[int, int] = (64, 48),
    rate: int = 16_000,
    layout: str = "mono",
    tone_hz: float = 440.0,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    bit_rate: int | None = None,
) -> Path:
    """Writes a clip; grey level of frame k is 20 + 200 * (k / number of frames)."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        streams = []
        if video is not None:
            stream = container.add_stream(video, rate=fps)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.options = options or {}
            if bit_rate:
                stream.bit_rate = bit_rate
            streams.append((stream, _pictures(round(seconds * fps), size)))
        if audio is not None:
            sound = container.add_stream(audio, rate=rate, layout=layout)
            streams.append((sound, _sounds(sound, seconds, rate, layout, tone_hz)))
        for stream, frames in streams:
            for frame in frames:
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def make_exact_clip(path: Path, frames: np.ndarray, sound: np.ndarray, *, fps: int = 10, rate: int = 8_000) -> Path:
    """Writes frames (N, H, W, 3) uint8 and sound (S,) -1..1 without loss (FFV1 in RGB, 16-bit PCM; a .mkv)."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=fps)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "bgr0"
        audio = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for index, pixels in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format="bgr0")
            picture.pts = index
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        whole = np.round(np.clip(sound, -1, 1) * 32_767).astype(np.int16)
        for begin in range(0, len(whole), 1_024):
            piece = av.AudioFrame.from_ndarray(whole[None, begin : begin + 1_024], format="s16", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = rate, begin, Fraction(1, rate)
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
    return path


def grey_of(time_s: float, seconds: float, fps: float) -> float:
    """Returns the grey level that make_clip gives to the frame shown at a time."""
    number = round(seconds * fps)
    return 20 + 200 * min(number - 1, int(time_s * fps + 1e-6)) / number


def _pictures(number: int, size: tuple[int, int]):
    for index in range(number):
        pixels = np.full((size[1], size[0], 3), round(20 + 200 * index / number), np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts = index
        yield frame


def _sounds(stream, seconds: float, rate: int, layout: str, tone_hz: float):
    samples = 0.5 * np.sin(2 * np.pi * tone_hz * np.arange(round(seconds * rate)) / rate)
    channels = 2 if layout == "stereo" else 1
    planar = np.repeat(samples[None], channels, axis=0).astype(np.float32)
    whole = av.AudioFrame.from_ndarray(planar, format="fltp", layout=layout)
    whole.sample_rate, whole.pts = rate, 0
    whole.time_base = Fraction(1, rate)
    fifo = av.AudioFifo()
    resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate)
    for frame in [*resampler.resample(whole), *resampler.resample(None)]:
        fifo.write(frame)
    while frame := fifo.read(stream.codec_context.frame_size or 1024, partial=True):
        yield frame
