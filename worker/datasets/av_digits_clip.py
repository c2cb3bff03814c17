"""Making one av-digits clip from its recipe: runs in a decoder process, torch-free, without scikit-learn.

The picture is drawn on a coarse grid and enlarged, so that each grain of noise is one 4 x 4 block, the unit of H.264's
transform, which keeps it: decoded at the grid's size the noise comes back as it was drawn (measured: mean error 1.8 of
255, correlation 1.00; sound 0.997). The difficulty of a recipe is that of the decoded clip.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

GRID = 32
BLOCK = 4
FRAMES_PER_S = 12
NUM_FRAMES = 6
SAMPLE_RATE_HZ = 8_000
DURATION_S = NUM_FRAMES / FRAMES_PER_S
_AUDIO_RMS = 0.15
_BACKGROUND, _INK = 0.3, 0.4
"""Grey of the paper, and what full ink adds to it: room for noise on both sides."""
_ROWS_HZ = (697.0, 770.0, 852.0, 941.0)
_COLUMNS_HZ = (1209.0, 1336.0, 1477.0)
_KEYPAD = {1: (0, 0), 2: (0, 1), 3: (0, 2), 4: (1, 0), 5: (1, 1), 6: (1, 2), 7: (2, 0), 8: (2, 1), 9: (2, 2), 0: (3, 1)}
"""Digit -> (row, column) of the telephone keypad: ITU-T Q.23."""


def make_clip(path: Path, recipe: str) -> None:
    """Writes the clip of a recipe as H.264/AAC mp4; the file appears whole or not at all.

    Args:
        path: where to write; missing folders are made.
        recipe: JSON written by AvDigitsDataset.
    """
    fields = json.loads(recipe)
    rng = np.random.Generator(np.random.Philox(key=[int(fields["seed"]), 1 + int(fields["image"])]))
    corrupted = str(fields["corrupted"])
    ink = np.asarray(fields["pixels"], np.float64).reshape(8, 8) / 16.0
    frames = _draw(ink * (corrupted != "visual"), float(fields["visual_noise"]), rng)
    sound = _sound(int(fields["digit"]), float(fields["audio_noise"]), rng, tone=corrupted != "audio")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _encode(partial, frames, sound)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def _draw(ink: NDArray[np.float64], noise: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Returns (frames, GRID x BLOCK, GRID x BLOCK) grey: the digit drifts by a cell a frame at most, in fresh noise."""
    size = 3 * ink.shape[0]
    digit = np.kron(ink, np.ones((3, 3)))
    room = GRID - size
    place = rng.uniform(0.25, 0.75, 2) * room
    drift = rng.uniform(-0.6, 0.6, 2)
    grid = np.full((NUM_FRAMES, GRID, GRID), _BACKGROUND)
    for index in range(NUM_FRAMES):
        top, left = np.clip(np.round(place + drift * index), 0, room).astype(int)
        grid[index, top : top + size, left : left + size] += _INK * digit
    grid += _INK * noise * rng.standard_normal(grid.shape)
    grey = np.round(np.clip(grid, 0.0, 1.0) * 255).astype(np.uint8)
    enlarged: NDArray[np.uint8] = grey.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2)
    return enlarged


def _sound(digit: int, noise: float, rng: np.random.Generator, *, tone: bool) -> NDArray[np.float32]:
    """Returns (samples,): the digit's two tones in white noise, brought to one loudness whatever the noise."""
    seconds = np.arange(round(DURATION_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    row, column = _KEYPAD[digit]
    signal = np.zeros_like(seconds)
    for frequency in (_ROWS_HZ[row], _COLUMNS_HZ[column]):
        phase = rng.uniform(0, 2 * np.pi)
        signal += np.sin(2 * np.pi * frequency * seconds + phase)  # two of unit amplitude: a tone of rms 1
    mixed = tone * signal + noise * rng.standard_normal(len(seconds))
    loudness = np.sqrt(1.0 + noise**2)
    sound: NDArray[np.float32] = np.clip(mixed * (_AUDIO_RMS / loudness), -1.0, 1.0).astype(np.float32)
    return sound


def _encode(path: Path, frames: NDArray[np.uint8], sound: NDArray[np.float32]) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FRAMES_PER_S)
        video.width = video.height = GRID * BLOCK
        video.pix_fmt = "yuv420p"
        # One thread and fixed quality: the same bytes wherever the same library runs.
        video.codec_context.thread_count = 1
        video.options = {"crf": "18", "preset": "ultrafast", "tune": "zerolatency"}
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        audio.bit_rate = 48_000
        audio.options = {"aac_coder": "fast"}  # half the time of the default, and closer to the noise
        for index, grey in enumerate(frames):
            picture = av.VideoFrame(GRID * BLOCK, GRID * BLOCK, "yuv420p")
            for plane, values in zip(picture.planes, _planes(grey), strict=True):
                plane.update(np.pad(values, ((0, 0), (0, plane.line_size - values.shape[1]))).tobytes())
            picture.pts = index
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        piece = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        piece.sample_rate, piece.pts = SAMPLE_RATE_HZ, 0
        container.mux(audio.encode(piece))
        container.mux(audio.encode(None))


def _planes(grey: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns the YUV planes of a grey picture, in the 16..235 range that players expect."""
    luma = np.round(16 + grey.astype(np.float32) * (219 / 255)).astype(np.uint8)
    chroma = np.full((grey.shape[0] // 2, grey.shape[1] // 2), 128, np.uint8)
    return luma, chroma, chroma
