"""The dataset, and what makes one of its clips (in a process of preparation's)."""

from __future__ import annotations

import json
from pathlib import Path

from gapscope_sample.spec import TwoTones
from worker.datasets import av_digits_clip
from worker.datasets.source import ClipEntry, DatasetListing

CLASSES = ("high", "low")


class TwoTonesDataset:
    def __init__(self, spec: TwoTones) -> None:
        self._spec = spec

    def list(self, clips_folder: Path) -> DatasetListing:
        spec = self._spec
        entries = []
        for split, number in (("train", spec.num_train), ("validation", spec.num_other), ("test", spec.num_other)):
            for index in range(number):
                label, name = CLASSES[index % 2], f"{split}-{index:03d}"
                recipe = json.dumps({"label": label, "image": len(entries)})
                path = clips_folder / f"{name}.mp4"
                entries.append(
                    ClipEntry(name, path, label, split, maker="gapscope_sample.dataset:make_clip", recipe=recipe)
                )
        return DatasetListing(CLASSES, entries)


def make_clip(path: Path, recipe: str) -> None:
    fields = json.loads(recipe)
    ink = [16, 16, 16, 16, 0, 0, 0, 0] if fields["label"] == "low" else [0, 0, 0, 0, 16, 16, 16, 16]
    digit = 1 if fields["label"] == "low" else 9
    whole = {"digit": digit, "pixels": ink * 8, "seed": 0, "image": fields["image"], "corrupted": "none"}
    av_digits_clip.make_clip(path, json.dumps({**whole, "audio_noise": 1.0, "visual_noise": 0.2}))
