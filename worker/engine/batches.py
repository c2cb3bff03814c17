"""From the prepared store to batches on the device: order, augmentation, prefetching.

What a batch holds is a function of (seed, epoch, sample ids) alone, never of a thread or of what came before.

Shapes: B clips, b of them in this process, T frames, M mel bins, S time steps, H x W pixels, N samples of the store.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from worker.contract.spec import PreprocessSpec
from worker.contract.spec.augment import AugmentSpec
from worker.engine.features import FeatureTable
from worker.engine.machine import num_cores
from worker.engine.seeds import epoch_permutation, sample_keys
from worker.engine.world import ALONE, World
from worker.media.preprocess import Preprocessor
from worker.objectives.base import EpochPlan

MIN_BATCH = 2
"""A last batch of one clip joins the batch before it: batch norm has no variance of one value, and none is dropped."""
MAX_LOADERS = 8
"""Threads that read for one GPU at most."""


class Loading(NamedTuple):
    """How batches are made ahead."""

    num_threads: int
    num_ahead: int
    pinned: bool
    """Whether batches wait in page-locked memory, from which a GPU copies while it computes."""


def loading_for(device: torch.device) -> Loading:
    """Returns how batches for a device are made ahead.

    Beside a CPU one thread does, since training itself wants the cores; a GPU consumes more than one can read.

    Args:
        device: where batches go.
    """
    if device.type != "cuda":
        return Loading(num_threads=1, num_ahead=2, pinned=False)
    num_threads = max(1, min(MAX_LOADERS, num_cores() // 2))
    return Loading(num_threads, num_ahead=2 * num_threads, pinned=True)


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
    """A batch on the device: of the clips themselves this process's slice alone (all of them where it is alone).

    Attributes:
        rows: (B,) store indices.
        labels: (B,) true classes.
        audio: (b, 1, M, S), float32; (b, F) where the run reads precomputed features; (0,) without a clip.
        frames: (b, T, 3, H, W), float32; (b, F) and (0,) likewise.
    """

    rows: Int[Tensor, " B"]
    labels: Int[Tensor, " B"]
    audio: Float[Tensor, "b ..."]
    frames: Float[Tensor, "b ..."]


@dataclass(frozen=True, eq=False)
class _HostBatch:
    """What was read of a batch: as stored, cut already, still without the device."""

    rows: Tensor
    labels: Tensor
    own: NDArray[np.int64]
    """Rows of this process."""
    audio: Tensor
    frames: Tensor
    epoch: int | None


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


def free_memory(device: torch.device) -> None:
    """Gives back what nothing on a device holds any more.

    Args:
        device: the run's.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


class BatchSource:
    """Makes batches of a store."""

    def __init__(
        self,
        store: Store,
        preprocessor: Preprocessor,
        *,
        seed: int,
        augment: AugmentSpec | None,
        device: torch.device,
        features: FeatureTable | None = None,
        world: World = ALONE,
        loading: Loading | None = None,
    ) -> None:
        """Binds a store to a device.

        Args:
            store: the prepared store.
            preprocessor: of the store's own spec.
            seed: the run's.
            augment: how clips are moved about in training; None: not at all.
            device: where batches go.
            features: precomputed ones, in place of the clips.
            world: of this process: it loads its own slice of each batch.
            loading: how batches are made ahead; None: as is best for the device. No batch depends on it.
        """
        self._loading = loading or loading_for(device)
        self._store = store
        self._preprocessor = preprocessor
        self._seed = seed
        self._augment = augment
        self._device = device
        self._features = features
        self._world = world
        self._labels = torch.from_numpy(np.asarray(store.labels, dtype=np.int64))
        self._ids = store.sample_ids
        self._keys = sample_keys(store.sample_ids)

    def visits(self, plan: EpochPlan, epoch: int, batch_size: int) -> list[NDArray[np.int64]]:
        """Returns the batches of an epoch as positions in the plan's rows, none across two of its groups.

        Args:
            plan: of the epoch.
            epoch: from 1.
            batch_size: rows a batch, at least 1.
        """
        order = epoch_permutation(plan.rows, self._keys[plan.rows], seed=self._seed, epoch=epoch)
        if plan.groups is None:
            return grouped(order, batch_size)
        group = plan.groups[order]
        return [batch for value in np.unique(group) for batch in grouped(order[group == value], batch_size)]

    def stream(self, groups: Sequence[NDArray[np.int64]], *, epoch: int | None) -> Iterator[Batch]:
        """Yields the batches of `groups`, made ahead by threads.

        Args:
            groups: store indices of each batch.
            epoch: augments for this epoch; None: clean.
        """
        pending: deque[Future[_HostBatch] | Future[Batch]] = deque()
        num_threads, num_ahead, pinned = self._loading
        # A GPU is told what to do by one thread, in the order of training; a CPU's work is done ahead as a whole.
        work: Callable[[NDArray[np.int64], int | None], _HostBatch | Batch] = self._read if pinned else self._load
        with ThreadPoolExecutor(num_threads, thread_name_prefix="batches") as pool:
            for rows in groups:
                pending.append(pool.submit(work, rows, epoch))  # type: ignore[arg-type]
                if len(pending) > num_ahead:
                    yield self._on_device(pending.popleft().result())
            while pending:
                yield self._on_device(pending.popleft().result())

    def _load(self, rows: NDArray[np.int64], epoch: int | None) -> Batch:
        """Returns one batch on the device."""
        return self._on_device(self._read(rows, epoch))

    def _read(self, rows: NDArray[np.int64], epoch: int | None) -> _HostBatch:
        """Returns one batch as stored, cut already, without the device."""
        own = rows[self._world.slice(len(rows))]
        indices = torch.from_numpy(rows)
        tensors = (indices, self._labels[indices], *self._inputs(own, epoch))
        rows_of, labels, audio, frames = (each.pin_memory() for each in tensors) if self._loading.pinned else tensors
        return _HostBatch(rows_of, labels, own, audio, frames, epoch)

    def _inputs(self, rows: NDArray[np.int64], epoch: int | None) -> tuple[Tensor, Tensor]:
        """Returns sound and frames of clips as stored, or their features."""
        if not len(rows):
            return torch.empty(0), torch.empty(0)
        if self._features is not None:
            audio, visual = self._features.batch(rows)
            return torch.from_numpy(audio), torch.from_numpy(visual)
        frames, stored = self._store.batch(rows)
        if epoch is None or self._augment is None:
            return torch.from_numpy(stored), torch.from_numpy(self._preprocessor.crop(frames))
        ids = [self._ids[row] for row in rows]
        frames, stored = self._preprocessor.augmented(
            frames, stored, ids, seed=self._seed, epoch=epoch, augmentation=self._augment
        )
        return torch.from_numpy(stored), torch.from_numpy(frames)

    def _on_device(self, read: _HostBatch | Batch) -> Batch:
        """Returns a batch on the device, in the form that encoders read."""
        if isinstance(read, Batch):
            return read
        audio, frames = self._tensors(read)
        rows, labels = (values.to(self._device, non_blocking=True) for values in (read.rows, read.labels))
        return Batch(rows, labels, audio, frames)

    def _tensors(self, read: _HostBatch) -> tuple[Float[Tensor, "b ..."], Float[Tensor, "b ..."]]:
        """Returns what the encoders read of this process's clips."""
        if self._features is not None or not len(read.own):
            return read.audio.to(self._device, non_blocking=True), read.frames.to(self._device, non_blocking=True)
        audio = self._preprocessor.audio_tensor(read.audio, self._device)
        if read.epoch is not None and self._augment is not None:
            ids = [self._ids[row] for row in read.own]
            audio = self._preprocessor.masked(audio, ids, seed=self._seed, epoch=read.epoch, augmentation=self._augment)
        return audio, self._preprocessor.frame_tensor(read.frames, self._device)
