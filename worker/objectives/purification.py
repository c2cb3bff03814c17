"""Stage 3 of the paper's method: which training samples it fine-tunes on, fixed once and kept.

The posterior r is that of the last adaptive epoch: at its gaps, by the mixture fitted on them. It is frozen, so that
every epoch of the stage selects the same samples, though their gaps go on changing. This module must not know the loop.

Shapes: N training samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.contract.errors import TrainingError
from worker.objectives.base import Scalar

MIN_BATCHES = 2
"""Fewer are no training. Ours."""


@dataclass(frozen=True, eq=False)
class Purification:
    """A selection of training samples.

    Attributes:
        posterior: (N,) float32, r of the last adaptive epoch.
        correct: (N,) bool, whether the fused prediction was right at its end.
        threshold: tau; samples with r below it have similar scores.
        drop_wrong: whether those among them that are wrong are left out.
    """

    posterior: NDArray[np.float32]
    correct: NDArray[np.bool_]
    threshold: float
    drop_wrong: bool

    @property
    def selected(self) -> NDArray[np.bool_]:
        """(N,) whether the stage trains on a sample."""
        similar = self.posterior < self.threshold
        return similar & self.correct if self.drop_wrong else similar

    @property
    def num_similar_wrong(self) -> int:
        """Samples with similar scores whose fused prediction is wrong, left out or not."""
        return int(((self.posterior < self.threshold) & ~self.correct).sum())

    def report(self) -> dict[str, Scalar]:
        """Returns what the stage uses, for the event."""
        return {
            "threshold": self.threshold,
            "drop_wrong": self.drop_wrong,
            "num_selected": int(self.selected.sum()),
            "num_similar_wrong": self.num_similar_wrong,
        }

    def require_trainable(self, labels: NDArray[np.int64], batch_size: int) -> None:
        """Returns nothing where the selection can be trained on.

        Args:
            labels: (N,) true classes of the training samples.
            batch_size: clips a step.

        Raises:
            TrainingError: it lacks a class that the training samples have, or makes fewer than MIN_BATCHES batches.
        """
        what = f"Stage 3 selects {int(self.selected.sum())} of {len(labels)} training clips (posterior below "
        what += f"{self.threshold}{', wrong ones left out' if self.drop_wrong else ''})"
        remedy = "Raise purification_threshold, keep wrong samples, or turn purification off."
        require_trainable(labels, labels[self.selected], batch_size, what=what, remedy=remedy, code="purification")

    def state(self) -> dict[str, Tensor | Scalar]:
        """Returns what a checkpoint needs of it; threshold and drop_wrong are the spec's."""
        return {
            "purification_posterior": torch.from_numpy(self.posterior),
            "purification_correct": torch.from_numpy(self.correct),
        }

    @classmethod
    def restored(cls, saved: Mapping[str, Tensor | Scalar], threshold: float, drop_wrong: bool) -> Self | None:
        """Returns what `state` gave; None where the stage had not begun.

        Args:
            saved: perhaps with other things beside it.
            threshold: of the spec.
            drop_wrong: of the spec.
        """
        if "purification_posterior" not in saved:
            return None
        posterior, correct = (cast(Tensor, saved[f"purification_{name}"]).numpy() for name in ("posterior", "correct"))
        return cls(posterior, correct, threshold, drop_wrong)


def require_trainable(
    labels: NDArray[np.int64], chosen: NDArray[np.int64], batch_size: int, *, what: str, remedy: str, code: str
) -> None:
    """Returns nothing where a choice among the training samples can be trained on.

    Args:
        labels: (N,) true classes of all training samples.
        chosen: (M,) true classes of those that are chosen.
        batch_size: clips a step.
        what: the choice in words, for the message.
        remedy: what to do about it.
        code: that of the error begins with it.

    Raises:
        TrainingError: a class vanishes, or there are fewer than MIN_BATCHES batches.
    """
    missing = np.setdiff1d(labels, chosen)
    if len(missing):
        raise TrainingError(
            f"{what}; {len(missing)} of {len(np.unique(labels))} classes have none (labels "
            f"{', '.join(map(str, missing[:10]))}), at least 1 clip of each is needed. {remedy}",
            code=f"{code}-class-vanishes",
        )
    # A last batch of one clip joins the one before it (worker.engine.batches), so two batches need batch_size + 2.
    if len(chosen) < batch_size + 2:
        raise TrainingError(
            f"{what}, fewer than {MIN_BATCHES} batches of {batch_size}; at least {batch_size + 2} clips are needed. "
            f"{remedy} Or lower batch_size.",
            code=f"{code}-too-few",
        )
