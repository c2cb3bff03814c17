"""The quality of clips in words with units: one clip's measures and faults, a dataset's flags and repeated content.

Pure functions. What is measured and where the thresholds lie is said in worker.contract.quality.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pandas as pd

from frontend.ui import words
from worker.contract.quality import FLAGS, METRICS
from worker.contract.resources import DatasetQuality

FAULTS: Final[dict[str, str]] = {flag.name: flag.title for flag in FLAGS}
_TITLES: Final[dict[str, str]] = {metric.name: metric.title for metric in METRICS} | {
    "duration_s": "Duration",
    "start_s": "Window begins at",
    "width": "Width",
    "height": "Height",
    "frames_per_s": "Frame rate",
    "sample_rate_hz": "Sample rate",
    "padded": "Shorter than the window",
}
_UNITS: Final[dict[str, str]] = {metric.name: metric.unit for metric in METRICS} | {
    "duration_s": "s",
    "start_s": "s",
    "width": "pixels",
    "height": "pixels",
    "frames_per_s": "frames/s",
    "sample_rate_hz": "Hz",
    "padded": "yes or no",
}


def value_words(name: str, value: float | None) -> str:
    """Returns a measure with its unit, such as "-23.1 dBFS" or "12.5 %"; a dash where there is none."""
    if value is None:
        return words.NONE
    unit = _UNITS.get(name, "")
    if unit in {"share", "of full scale"}:
        return words.percent(value) + (" of full scale" if unit == "of full scale" else "")
    if unit == "yes or no":
        return "yes" if value else "no"
    if unit == "variance":
        return f"{value:,.0f}" if value >= 100 else words.decimal(value, 1)
    digits = 0 if unit in {"pixels", "Hz"} else 1 if unit in {"dBFS", "frames/s"} else 2
    return f"{words.decimal(value, digits)}{words.NBSP}{unit}".strip(words.NBSP)


def facts(quality: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """Returns the title and the value in words of each measure of a clip, those of METRICS first."""
    first = [metric.name for metric in METRICS if metric.name in quality]
    names: list[str] = [*first, *(name for name in quality if name not in first)]
    return [(_TITLES.get(name, name.replace("_", " ")), value_words(name, quality[name])) for name in names]


def faults(quality: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """Returns the title of each fault that a clip has, and the value that says so."""
    return [
        (flag.title, value_words(flag.metric, value))
        for flag in FLAGS
        if (value := quality.get(flag.metric)) is not None and value >= flag.at_least - 1e-6  # stored as float32
    ]


def flag_table(quality: DatasetQuality) -> pd.DataFrame:
    """Returns fault, clips, share of the measured ones (0..100), clips by split, and what counts as the fault."""
    rules: dict[str, str] = {flag.name: flag.rule for flag in FLAGS}
    return pd.DataFrame(
        [
            {
                "fault": FAULTS.get(item.flag, item.flag),
                "clips": item.num_clips,
                "share": 100 * item.num_clips / item.num_measured if item.num_measured else None,
                "splits": " / ".join(str(item.splits.get(name, 0)) for name in words.SPLITS),
                "rule": rules.get(item.flag, ""),
            }
            for item in quality.flags
        ]
    )


def pair_table(quality: DatasetQuality) -> pd.DataFrame:
    """Returns the pairs of clips that have the same content in two splits."""
    return pd.DataFrame(
        [
            {
                "clip": pair.sample_id,
                "split": words.SPLITS.get(pair.split, pair.split),
                "other": pair.other_sample_id,
                "other_split": words.SPLITS.get(pair.other_split, pair.other_split),
            }
            for pair in quality.same_content
        ]
    )
