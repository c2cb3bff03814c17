"""Random crops and shifts as pure functions of (seed, epoch, sample id): never of a worker's random state.

N samples, T frames, H side of the stored frames, W side of the crop. Works on uint8 frames, before they become float.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHIFT_SHARE = 1 / 16
"""Where the crop is as large as the frame, the picture is shifted by up to this share of its side (ours)."""
TIME_SHARE = 1 / 10
"""Sound is rotated in time by up to this share of the window, either way (ours)."""


@dataclass(frozen=True)
class Draws:
    """Uniform numbers in [0, 1) for a batch: (N,) each."""

    top: NDArray[np.float64]
    left: NDArray[np.float64]
    time: NDArray[np.float64]
    flip: NDArray[np.float64]


def draws(seed: int, epoch: int, sample_ids: Sequence[str]) -> Draws:
    """Returns the random numbers of each sample in one epoch: BLAKE2b of (seed, epoch, sample id) as bits.

    Args:
        seed: of the run.
        epoch: counted from 1.
        sample_ids: N ids.
    """
    prefix = f"{seed}:{epoch}:".encode()
    digests = b"".join(hashlib.blake2b(prefix + name.encode(), digest_size=32).digest() for name in sample_ids)
    bits = np.frombuffer(digests, "<u8").reshape(len(sample_ids), 4)
    uniform = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return Draws(uniform[:, 0], uniform[:, 1], uniform[:, 2], uniform[:, 3])


def random_crop(
    frames: NDArray[np.uint8], size: int, drawn: Draws, *, horizontal_flip: bool = False
) -> NDArray[np.uint8]:
    """Returns each clip's frames cut at one random place, the same for all its frames.

    Args:
        frames: (N, T, H, H, 3) uint8.
        size: W; where W = H the picture is shifted by up to H/16, its border repeated.
        drawn: the batch's random numbers.
        horizontal_flip: also mirror half of the clips. Off by default: a mirrored digit or letter is another one.

    Returns:
        (N, T, W, W, 3) uint8.
    """
    side = frames.shape[2]
    margin = 0
    if side == size:
        margin = round(side * SHIFT_SHARE)
        frames = np.pad(frames, ((0, 0), (0, 0), (margin, margin), (margin, margin), (0, 0)), mode="edge")
    places = side + 2 * margin - size + 1
    tops, lefts = (drawn.top * places).astype(int), (drawn.left * places).astype(int)
    cut = np.empty((*frames.shape[:2], size, size, 3), np.uint8)
    for index, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        cut[index] = frames[index, :, top : top + size, left : left + size]
        if horizontal_flip and drawn.flip[index] < 0.5:
            cut[index] = cut[index, :, :, ::-1].copy()
    return cut


def centre_crop(frames: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Returns the middle of each frame: (N, T, H, H, 3) -> (N, T, W, W, 3) uint8."""
    top = (frames.shape[2] - size) // 2
    return np.ascontiguousarray(frames[:, :, top : top + size, top : top + size])


def time_shift(audio: NDArray[np.generic], drawn: Draws) -> NDArray[np.generic]:
    """Returns each clip's sound, spectrogram (N, M, S) or waveform (N, S), rotated in time by up to a tenth."""
    length = audio.shape[-1]
    reach = int(length * TIME_SHARE)
    shifts = np.floor(drawn.time * (2 * reach + 1)).astype(int) - reach
    moved = np.empty_like(audio)
    for index, shift in enumerate(shifts):
        moved[index] = np.roll(audio[index], shift, axis=-1)
    return moved
