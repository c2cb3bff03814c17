"""av-digits: handwritten digits as H.264 video, each with its DTMF tone as AAC sound, made from what pip installs.

Labels, splits and corruption are drawn here from the seed; the clips themselves are made by preparation's decoder
processes from recipes (worker.datasets.av_digits_clip). Every image of scikit-learn's load_digits is used at most once,
so no image stands in two splits.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.contract.spec.datasets import AvDigits
from worker.datasets.source import ClipEntry, DatasetListing

MAKER = "worker.datasets.av_digits_clip:make_clip"
CLASSES = tuple(str(digit) for digit in range(10))


class AvDigitsDataset:
    """The built-in dataset."""

    def __init__(self, spec: AvDigits) -> None:
        """Keeps the spec."""
        self._spec = spec

    def list(self, clips_folder: Path) -> DatasetListing:
        """Returns the clips with the recipes to make them; writes nothing.

        Args:
            clips_folder: the clips go to a sub-folder named by the spec without its preprocessing, so that another
                preprocessing finds them made.
        """
        images, digits = _load_digits()
        spec = self._spec
        folder = clips_folder / spec.digest(exclude=frozenset({"protocol", "preprocess"}))
        rng = np.random.Generator(np.random.Philox(key=[spec.seed, 0]))
        order = _interleaved(digits, rng)
        entries: list[ClipEntry] = []
        for split, number in (("train", spec.num_train), ("validation", spec.num_validation), ("test", spec.num_test)):
            chosen, order = order[:number], order[number:]
            chosen = rng.permutation(chosen)
            corrupted = _corruptions(number, spec, rng)
            for image, kind in zip(chosen.tolist(), corrupted, strict=True):
                entries.append(self._entry(folder, image, int(digits[image]), images[image], split, kind))
        return DatasetListing(CLASSES, entries)

    def _entry(
        self, folder: Path, image: int, digit: int, pixels: NDArray[np.int64], split: str, corrupted: str
    ) -> ClipEntry:
        name = f"digit-{image:04d}"
        recipe = {
            "digit": digit,
            "pixels": pixels.tolist(),
            "seed": self._spec.seed,
            "image": image,
            "audio_noise": self._spec.audio_noise,
            "visual_noise": self._spec.visual_noise,
            "corrupted": corrupted,
        }
        return ClipEntry(
            sample_id=name,
            path=folder / f"{name}.mp4",
            label=str(digit),
            split=split,
            group=f"image-{image:04d}",
            notes={"corrupted": corrupted},
            maker=MAKER,
            recipe=json.dumps(recipe, separators=(",", ":")),
        )


def _load_digits() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the images (1797, 64), ink 0..16, and their digits (1797,)."""
    from sklearn.datasets import load_digits  # a second to import: only when av-digits is listed

    bunch = load_digits()
    return bunch.data.astype(np.int64), bunch.target.astype(np.int64)


def _interleaved(digits: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Returns all image indices, shuffled so that every stretch holds the ten digits about equally often."""
    shuffled = rng.permutation(len(digits))
    seen = np.zeros(10, np.int64)
    rank = np.empty(len(digits), np.int64)
    for position, image in enumerate(shuffled):
        rank[position] = seen[digits[image]]
        seen[digits[image]] += 1
    return shuffled[np.argsort(rank, kind="stable")]


def _corruptions(number: int, spec: AvDigits, rng: np.random.Generator) -> list[str]:
    """Returns what is corrupted in each of `number` clips: exact shares, in random places, never both."""
    num_audio, num_visual = round(number * spec.corrupted_audio), round(number * spec.corrupted_visual)
    kinds = ["audio"] * num_audio + ["visual"] * num_visual
    kinds = (kinds + ["none"] * number)[:number]
    return [kinds[place] for place in rng.permutation(number)]
