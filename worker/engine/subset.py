"""A prepared store whose training split is a saved subset of it; validation and test stay whole.

Shapes: N samples of the store.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.contract.errors import TrainingError
from worker.contract.spec import PreprocessSpec
from worker.engine.batches import Store
from worker.objectives.purification import require_trainable


class SubsetStore:
    """Rows keep their places in the store, so that samples keep theirs in every table."""

    def __init__(self, store: Store, sample_ids: Sequence[str], *, name: str, batch_size: int) -> None:
        """Takes a store and the samples to train on.

        Args:
            store: the prepared data.
            sample_ids: of the subset.
            name: of the subset, for messages.
            batch_size: of the run.

        Raises:
            TrainingError: a sample is no training sample of the store, a class vanishes, or there are fewer than two
                batches.
        """
        train = store.indices("train")
        rows = {store.sample_ids[row]: int(row) for row in train}
        missing = [sample_id for sample_id in sample_ids if sample_id not in rows]
        if missing:
            raise TrainingError(
                f"The subset {name!r} has {len(sample_ids)} samples, {len(missing)} of them are no training samples of "
                f"the prepared dataset (such as {missing[0]!r}): save the subset anew from a run on the new data.",
                code="subset-unfit",
            )
        self._store = store
        self._train = np.array(sorted(rows[sample_id] for sample_id in sample_ids), dtype=np.int64)
        labels = np.asarray(store.labels, dtype=np.int64)
        require_trainable(
            labels[train],
            labels[self._train],
            batch_size,
            what=f"The subset {name!r} has {len(self._train)} of {len(train)} training clips",
            remedy="Save a larger subset.",
            code="subset",
        )

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes of the whole store."""
        return self._store.classes

    @property
    def digest(self) -> str:
        """Of the whole store's content."""
        return self._store.digest

    @property
    def spec(self) -> PreprocessSpec:
        """What the store was prepared with."""
        return self._store.spec

    @property
    def sample_ids(self) -> Sequence[str]:
        """N ids of the whole store."""
        return self._store.sample_ids

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) true classes of the whole store."""
        return self._store.labels

    def indices(self, split: str) -> NDArray[np.int64]:
        """Returns the store indices of a split, ascending: of the subset where it is "train"."""
        return self._train if split == "train" else self._store.indices(split)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.generic]]:
        """Returns frames uint8 (B, T, H, W, 3) and stored audio (B, ...)."""
        return self._store.batch(indices)
