"""From the prepared store to batches on the device: order, augmentation, prefetching.

What a batch holds is a function of (seed, epoch, sample ids) alone, never of a thread or of what came before.

Shapes: B clips, T frames, M mel bins, S time steps, H x W pixels, N samples of the store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from worker.contract.spec import PreprocessSpec
from worker.engine.seeds import epoch_order, sample_keys
from worker.media.preprocess import Preprocessor

MIN_BATCH = 2
"""A last batch of one clip joins the batch before it: batch norm has no variance of one value, and none is dropped."""
NUM_PREFETCHED = 2
"""Batches made ahead, by one thread."""


class Store(Protocol):
    """What the engine needs of a prepared store (worker.datasets.store.PreparedStore offers it)."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, by label."""

    @property
    def digest(self) -> str:
        """Of the store's content."""

    @property
    def spec(self) -> PreprocessSpec:
        """What the store was prepared with."""

    @property
    def sample_ids(self) -> Sequence[str]:
        """N ids."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) true classes."""

    def indices(self, split: str) -> NDArray[np.int64]:
        """Returns the store indices of a split, ascending."""

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.generic]]:
        """Returns frames uint8 (B, T, H, W, 3) and stored audio (B, ...)."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips on the device.

    Attributes:
        rows: (B,) store indices.
        labels: (B,) true classes.
        audio: (B, 1, M, S), float32.
        frames: (B, T, 3, H, W), float32.
    """

    rows: Int[Tensor, " B"]
    labels: Int[Tensor, " B"]
    audio: Float[Tensor, "B 1 M S"]
    frames: Float[Tensor, "B T 3 H W"]


def grouped(rows: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Returns the rows cut into batches; a last one of less than MIN_BATCH rows joins the one before.

    Args:
        rows: store indices in order.
        batch_size: rows a batch, at least 1.
    """
    starts = list(range(0, len(rows), batch_size))
    if len(starts) > 1 and len(rows) - starts[-1] < MIN_BATCH:
        starts.pop()
    return np.split(rows, starts[1:]) if starts else []


class BatchSource:
    """Makes batches of a store."""

    def __init__(
        self, store: Store, preprocessor: Preprocessor, *, seed: int, augment: bool, device: torch.device
    ) -> None:
        """Binds a store to a device.

        Args:
            store: the prepared store.
            preprocessor: of the store's own spec.
            seed: the run's.
            augment: move crops and spectrograms about in training.
            device: where batches go.
        """
        self._store = store
        self._preprocessor = preprocessor
        self._seed = seed
        self._augment = augment
        self._device = device
        self._labels = torch.from_numpy(np.asarray(store.labels, dtype=np.int64))
        self._ids = store.sample_ids
        self._keys = sample_keys(store.sample_ids)

    def ordered(self, rows: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """Returns the rows in the order of an epoch."""
        return epoch_order(rows, self._keys[rows], seed=self._seed, epoch=epoch)

    def stream(self, groups: Sequence[NDArray[np.int64]], *, epoch: int | None) -> Iterator[Batch]:
        """Yields the batches of `groups`, made ahead by a thread.

        Args:
            groups: store indices of each batch.
            epoch: augments for this epoch; None: clean.
        """
        pending: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            for rows in groups:
                pending.append(pool.submit(self._load, rows, epoch))
                if len(pending) > NUM_PREFETCHED:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _load(self, rows: NDArray[np.int64], epoch: int | None) -> Batch:
        """Returns one batch on the device."""
        frames, audio = self._store.batch(rows)
        if epoch is not None and self._augment:
            ids = [self._ids[row] for row in rows]
            frames, audio = self._preprocessor.augmented(frames, audio, ids, seed=self._seed, epoch=epoch)
        else:
            frames = self._preprocessor.crop(frames)
        indices = torch.from_numpy(rows)
        return Batch(
            rows=indices.to(self._device),
            labels=self._labels[indices].to(self._device),
            audio=self._preprocessor.audio_tensor(audio, self._device),
            frames=self._preprocessor.frame_tensor(frames, self._device),
        )
