"""Random crops and shifts as pure functions of (seed, epoch, sample id): never of a worker's random state.

N samples, T frames, H side of the stored frames, W side of the crop. Works on uint8 frames, before they become float.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

SHIFT_SHARE = 1 / 16
"""Where the crop is as large as the frame, the picture is shifted by up to this share of its side (ours)."""
TIME_SHARE = 1 / 10
"""Sound is rotated in time by up to this share of the window, either way (ours)."""
AREA_SHARES = (0.08, 1.0)
RATIOS = (3 / 4, 4 / 3)
_TRIES = 10
"""Area, shape and tries of the resized crop. Source: Szegedy et al. 2015, as torchvision's RandomResizedCrop has it."""


@dataclass(frozen=True)
class Draws:
    """Uniform numbers in [0, 1) for a batch: (N,) each."""

    top: NDArray[np.float64]
    left: NDArray[np.float64]
    time: NDArray[np.float64]
    flip: NDArray[np.float64]
    key: NDArray[np.uint64]

    def more(self, purpose: str, number: int) -> NDArray[np.float64]:
        """Returns further uniform numbers for one purpose: (N, number)."""
        salt = np.uint64(zlib.crc32(purpose.encode())) << np.uint64(32)
        bits = _mix(self.key[:, None] ^ (salt | np.arange(number, dtype=np.uint64)))
        return _uniform(bits)


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
    uniform = _uniform(bits)
    return Draws(uniform[:, 0], uniform[:, 1], uniform[:, 2], uniform[:, 3], _mix(bits[:, 0] ^ bits[:, 3]))


def random_crop(frames: NDArray[np.uint8], size: int, drawn: Draws) -> NDArray[np.uint8]:
    """Returns each clip's frames cut at one random place, the same for all its frames.

    Args:
        frames: (N, T, H, H, 3) uint8.
        size: W; where W = H the picture is shifted by up to H/16, its border repeated.
        drawn: the batch's random numbers.

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
    return cut


def resized_crop(frames: NDArray[np.uint8], size: int, drawn: Draws) -> NDArray[np.uint8]:
    """Returns each clip's frames cut to one random box, the same for all its frames, and resized to the crop.

    Args:
        frames: (N, T, H, H, 3) uint8.
        size: W.
        drawn: the batch's random numbers.

    Returns:
        (N, T, W, W, 3) uint8.
    """
    side = frames.shape[2]
    heights, widths = _boxes(side, drawn)
    tops = (drawn.top * (side - heights + 1)).astype(int)
    lefts = (drawn.left * (side - widths + 1)).astype(int)
    cut = np.empty((*frames.shape[:2], size, size, 3), np.uint8)
    for index, (top, left, height, width) in enumerate(zip(tops, lefts, heights, widths, strict=True)):
        cut[index] = resized(frames[index, :, top : top + height, left : left + width], size)
    return cut


def resized(frames: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Returns whole frames resized to a square, bilinear with antialiasing: (T, h, w, 3) -> (T, W, W, 3) uint8."""
    if frames.shape[1:3] == (size, size):
        return frames
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2)
    small = interpolate(pictures, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    squares: NDArray[np.uint8] = small.permute(0, 2, 3, 1).numpy()
    return squares


def _boxes(side: int, drawn: Draws) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns heights and widths, (N,) each: the first of ten tries that fits into the picture, else all of it."""
    uniform = drawn.more("boxes", 2 * _TRIES)
    areas = (AREA_SHARES[0] + uniform[:, 0::2] * (AREA_SHARES[1] - AREA_SHARES[0])) * side**2
    low, high = (math.log(ratio) for ratio in RATIOS)
    ratios = np.exp(low + uniform[:, 1::2] * (high - low))
    heights, widths = np.rint(np.sqrt(areas / ratios)), np.rint(np.sqrt(areas * ratios))
    fits = (heights >= 1) & (heights <= side) & (widths >= 1) & (widths <= side)
    rows, first = np.arange(len(fits)), fits.argmax(axis=1)
    found = fits[rows, first]
    return (
        np.where(found, heights[rows, first], side).astype(np.int64),
        np.where(found, widths[rows, first], side).astype(np.int64),
    )


def mirrored(frames: NDArray[np.uint8], drawn: Draws) -> NDArray[np.uint8]:
    """Returns the frames, half of the clips mirrored: not for digits or letters, which become others."""
    chosen = drawn.flip < 0.5
    frames = frames.copy()
    frames[chosen] = frames[chosen, :, :, ::-1]
    return frames


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


def random_stretch(audio: NDArray[np.generic], length: int, drawn: Draws) -> NDArray[np.generic]:
    """Returns a random stretch of each clip's sound: spectrogram (N, M, S) or waveform (N, S) -> (N, ..., length)."""
    begins = (drawn.time * (audio.shape[-1] - length + 1)).astype(int)
    return np.stack([one[..., begin : begin + length] for one, begin in zip(audio, begins, strict=True)])


def _uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns the finaliser of splitmix64 (Steele et al. 2014): each bit of the input moves every bit of the output."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
