"""A tiny store in memory, and specs of runs on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.contract.resources import ResolvedSpec
from worker.contract.spec import DatasetReference, PreprocessSpec, RunSpec, SmallCnn

PREPROCESS = PreprocessSpec(
    duration_s=0.25,
    sample_rate_hz=4_000,
    num_mels=16,
    fft_samples=128,
    hop_samples=64,
    num_frames=2,
    frame_size=16,
    crop_size=16,
)
NUM_CLASSES = 4


class MemoryStore:
    """Classes that show in both modalities: the frames' brightness by column, one loud mel band."""

    def __init__(self, counts: dict[str, int], seed: int = 0, *, num_classes: int = NUM_CLASSES) -> None:
        rng = np.random.default_rng(seed)
        self._split = np.repeat(list(counts), list(counts.values()))
        num_samples = len(self._split)
        self.sample_ids = [f"sample-{index:03d}" for index in range(num_samples)]
        self.labels = (np.arange(num_samples) % num_classes).astype(np.int64)
        self.classes = tuple("abcdefgh"[:num_classes])
        self.digest = "memory"
        self.spec = PREPROCESS
        frames = rng.normal(100, 40, (num_samples, 2, 16, 16, 3))
        audio = rng.normal(-6, 2, (num_samples, PREPROCESS.num_mels, PREPROCESS.num_steps))
        for row, label in enumerate(self.labels):
            frames[row, :, :, label * 4 : label * 4 + 4] += 70
            audio[row, label * 4 : label * 4 + 2] += 1.0
        self.frames = frames.clip(0, 255).astype(np.uint8)
        self.audio = audio.astype(np.float16)

    def indices(self, split: str) -> NDArray[np.int64]:
        return np.flatnonzero(self._split == split)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.generic]]:
        return self.frames[indices], self.audio[indices]

    def shuffled(self, seed: int) -> MemoryStore:
        """The same samples in another order."""
        other = MemoryStore({"train": 1})
        order = np.random.default_rng(seed).permutation(len(self.labels))
        other.__dict__.update(self.__dict__)
        other._split, other.labels = self._split[order], self.labels[order]
        other.sample_ids = [self.sample_ids[row] for row in order]
        other.frames, other.audio = self.frames[order], self.audio[order]
        return other


def run_spec(**fields: Any) -> RunSpec:
    defaults = {
        "dataset": DatasetReference(id="memory"),
        "encoder": SmallCnn(width=4, num_features=8),
        "epochs": 3,
        "batch_size": 16,
        "precision": "fp32",
        "device": "cpu",
        "threads": 1,
    }
    return RunSpec(**{**defaults, **fields})


def resolved_spec(**fields: Any) -> ResolvedSpec:
    defaults: dict[str, Any] = {
        "dataset_id": "memory",
        "store_digest": "memory",
        "device": "cpu",
        "precision": "fp32",
        "memory_format": "contiguous",
        "threads": 1,
        "deterministic": True,
        "versions": {},
        "processor": "test",
    }
    return ResolvedSpec(**{**defaults, **fields})
