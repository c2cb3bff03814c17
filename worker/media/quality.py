"""How good a decoded window is, as numbers, and a hash of its content. Runs in the decoder process.

Torch-free. What the numbers mean and where the thresholds lie is said in worker.contract.quality alone.

S samples, T frames, H side of the square frames, P = T - 1 pairs of successive frames.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from worker.contract.quality import (
    BLACK_LUMA,
    BLACK_PIXEL_SHARE,
    CLIPPED_AMPLITUDE,
    FROZEN_DIFFERENCE,
    METRICS,
    SILENCE_FLOOR_DBFS,
    SILENT_BLOCK_DBFS,
    SILENT_BLOCK_S,
    ClipQuality,
)
from worker.media.decode import DecodedClip

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, as the video codecs have it."""
_HASH_BYTES = 16


def measure(clip: DecodedClip, sample_rate_hz: int) -> ClipQuality:
    """Returns what is measured of a decoded window; the metrics of a track that is missing are None.

    Args:
        clip: the window.
        sample_rate_hz: sample rate of its sound.
    """
    found: dict[str, float | None] = {"duration_mismatch_s": clip.info.duration_mismatch_s}
    digest = hashlib.blake2b(digest_size=_HASH_BYTES)
    if clip.waveform is not None:
        found |= sound_metrics(clip.waveform, sample_rate_hz)
        digest.update(np.ascontiguousarray(clip.waveform).data)
    if clip.frames is not None:
        found |= picture_metrics(clip.frames)
        digest.update(np.ascontiguousarray(clip.frames).data)
    return ClipQuality(tuple(found.get(metric.name) for metric in METRICS), digest.hexdigest())


def sound_metrics(waveform: NDArray[np.float32], sample_rate_hz: int) -> dict[str, float | None]:
    """Returns loudness, silence and clipping.

    Args:
        waveform: (S,) -1..1, at least one sample.
        sample_rate_hz: its sample rate.
    """
    power = np.square(waveform)
    mean_power = float(power.mean(dtype=np.float64))
    loudness_dbfs = 10 * np.log10(mean_power) if mean_power > 0 else SILENCE_FLOOR_DBFS
    block = min(len(power), max(1, round(SILENT_BLOCK_S * sample_rate_hz)))
    blocks = power[: len(power) // block * block].reshape(-1, block).mean(axis=1)
    return {
        "loudness_dbfs": max(SILENCE_FLOOR_DBFS, float(loudness_dbfs)),
        "silence_share": float(np.mean(blocks < 10 ** (SILENT_BLOCK_DBFS / 10))),
        "clipped_share": float(np.mean(np.abs(waveform) >= CLIPPED_AMPLITUDE)),
    }


def picture_metrics(frames: NDArray[np.uint8]) -> dict[str, float | None]:
    """Returns brightness, sharpness, motion, frozen and black frames.

    Args:
        frames: (T, H, H, 3) RGB, at least one frame of at least 3 x 3 pixels.
    """
    luma = frames.astype(np.float32) @ _LUMA
    centre = luma[:, 1:-1, 1:-1]
    laplacian = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:] - 4 * centre
    dark = np.mean(luma < BLACK_LUMA, axis=(1, 2))
    moved = np.abs(np.diff(luma, axis=0)).mean(axis=(1, 2)) / 255  # (P,)
    return {
        "luminance": float(luma.mean()) / 255,
        "sharpness": float(laplacian.var(axis=(1, 2)).mean()),
        "motion": float(moved.mean()) if len(moved) else None,
        "frozen_share": float(np.mean(moved <= FROZEN_DIFFERENCE)) if len(moved) else None,
        "black_share": float(np.mean(dark >= BLACK_PIXEL_SHARE)),
    }
