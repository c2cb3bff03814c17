"""What is measured of each clip at preparation, and from which value on a clip is flagged: the one place that says so.

All values are of the window that a model sees, as it was decoded: the sound mono and resampled, the picture as the
sampled and scaled frames. Torch-free: the decoder process, the API and the browser's pages read this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MetricName = Literal[
    "loudness_dbfs",
    "silence_share",
    "clipped_share",
    "luminance",
    "sharpness",
    "motion",
    "frozen_share",
    "black_share",
    "duration_mismatch_s",
]
FlagName = Literal["silent", "clipped", "black", "frozen", "mismatched"]

SILENCE_FLOOR_DBFS = -120.0
"""Loudness of digital silence: JSON has no minus infinity."""
SILENT_BLOCK_S = 0.02
SILENT_BLOCK_DBFS = -60.0
"""A block of 20 ms that is quieter counts as silence (the default noise level of FFmpeg's silencedetect)."""
CLIPPED_AMPLITUDE = 0.9999
"""A sample counts as clipped from here on, of a full scale of 1 (16-bit: 32,765)."""
BLACK_LUMA = 32.0
BLACK_PIXEL_SHARE = 0.98
"""A frame is black when so many of its pixels have a luma under 32 of 255 (the defaults of FFmpeg's blackframe)."""
FROZEN_DIFFERENCE = 0.001
"""Two sampled frames are frozen when they differ by at most this on average (the default of FFmpeg's freezedetect)."""


@dataclass(frozen=True)
class Metric:
    """One number that is measured of a clip."""

    name: MetricName
    title: str
    unit: Literal["dBFS", "share", "of full scale", "variance", "s"]
    description: str


METRICS: tuple[Metric, ...] = (
    Metric(
        "loudness_dbfs",
        "Loudness",
        "dBFS",
        "Root mean square of the sound in decibels of full scale: a sine of full amplitude has -3.01, digital silence "
        "-120. Not weighted by frequency (no LUFS).",
    ),
    Metric("silence_share", "Silence", "share", "Blocks of 20 ms whose loudness is under -60 dBFS."),
    Metric("clipped_share", "Clipped sound", "share", "Samples whose amplitude is at least 0.9999 of full scale."),
    Metric("luminance", "Brightness", "of full scale", "Mean luma (BT.601) of the sampled frames: 0 black, 1 white."),
    Metric(
        "sharpness",
        "Sharpness",
        "variance",
        "Variance of the Laplacian (4 neighbours) of the luma (0..255), the mean over the sampled frames: compare it "
        "within one dataset only.",
    ),
    Metric(
        "motion",
        "Motion",
        "of full scale",
        "Mean absolute difference of luma between one sampled frame and the next; none where one frame is sampled.",
    ),
    Metric(
        "frozen_share",
        "Frozen picture",
        "share",
        "Pairs of successive sampled frames that differ by at most 0.001 of full scale on average; none where one "
        "frame is sampled.",
    ),
    Metric("black_share", "Black picture", "share", "Sampled frames with 98 % of their pixels under a luma of 32."),
    Metric(
        "duration_mismatch_s",
        "Track mismatch",
        "s",
        "How much longer one track of the file is than the other; none where a large file does not declare it.",
    ),
)
"""In the order in which preparation passes the values on."""


@dataclass(frozen=True)
class Flag:
    """A fault that a clip has from a threshold on."""

    name: FlagName
    metric: MetricName
    at_least: float
    title: str
    words: str
    """Completes 'N clips ...'."""
    rule: str
    """The threshold in words."""


FLAGS: tuple[Flag, ...] = (
    Flag("silent", "silence_share", 0.9, "Silent", "are silent", "at least 90 % of the sound is under -60 dBFS"),
    Flag(
        "clipped",
        "clipped_share",
        0.01,
        "Clipped sound",
        "have clipped sound",
        "at least 1 % of the samples are at full scale",
    ),
    Flag(
        "black",
        "black_share",
        0.5,
        "Black picture",
        "have a black picture",
        "at least half of the sampled frames are black",
    ),
    Flag(
        "frozen",
        "frozen_share",
        0.99,
        "Frozen picture",
        "have a frozen picture",
        "no sampled frame differs from the one before, as in a black picture",
    ),
    Flag(
        "mismatched",
        "duration_mismatch_s",
        0.5,
        "Tracks of unlike length",
        "have tracks of unlike length",
        "they differ by at least 0.5 s",
    ),
)


@dataclass(frozen=True, slots=True)
class ClipQuality:
    """What was measured of one clip."""

    values: tuple[float | None, ...]
    """In the order of METRICS; None where there is nothing to measure."""
    content_hash: str
    """Of the decoded window, sound and sampled frames: equal for equal content, whatever the file is called."""

    def named(self) -> dict[str, float | None]:
        """Returns the values by the name of their metric."""
        return by_name(self.values)


def by_name(values: Sequence[float | None]) -> dict[str, float | None]:
    """Returns values in the order of METRICS by name; all None where nothing was measured."""
    given = values or [None] * len(METRICS)
    return {metric.name: value for metric, value in zip(METRICS, given, strict=True)}
