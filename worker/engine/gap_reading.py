"""What a gap means by what a run saw in training: posterior, opposite tail, inside or outside of the training gaps.

It must not know models or clips. Shapes: N clips of the training split, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.contract import events
from worker.contract.scores import GapInTraining
from worker.engine.evaluate import parameters_of
from worker.science.gap import modality_gap
from worker.science.mixture import MixtureParameters
from worker.science.posterior import posterior

OPPOSITE_POSTERIOR = 0.5
"""A gap wider than the imbalanced group's mean belongs to the opposite tail when its posterior is below this."""


@dataclass(frozen=True)
class GapReading:
    """What a run says of one gap."""

    gap: float | None
    posterior_imbalanced: float | None
    posterior_reason: str | None
    opposite_tail: bool | None
    in_training: GapInTraining | None


class GapReader:
    """The mixture and the gaps of the training split at one epoch."""

    def __init__(self, mixture: MixtureParameters | None, train_gaps: NDArray[np.floating[Any]]) -> None:
        """Takes the parts.

        Args:
            mixture: the paper's; None where the fit was degenerate.
            train_gaps: (N,) gaps of the training split; values that are not finite are left out.
        """
        self._mixture = mixture
        self._train_gaps = np.sort(train_gaps[np.isfinite(train_gaps)])

    @classmethod
    def of(cls, record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> GapReader:
        """Returns the reader of a checkpoint.

        Args:
            record: JSON part of its snapshot.
            tensors: its tensors; `gaps.train` are the gaps.
        """
        saved = record["mixtures"].get("train")
        mixture = None if saved is None else parameters_of(events.Mixture.model_validate(saved["paper"]["mixture"]))
        gaps = tensors.get("gaps.train")
        return cls(mixture, np.empty(0, np.float32) if gaps is None else gaps.numpy())

    def read(
        self, gap: float | None, *, missing: str = "The clip has one modality alone, so there is no gap."
    ) -> GapReading:
        """Returns what the run says of a gap.

        Args:
            gap: -1..1; None where there is none.
            missing: why there is none.
        """
        if gap is None:
            return GapReading(None, None, missing, None, None)
        if self._mixture is None:
            reason = "The training gaps of this epoch hardly varied, so no mixture was fitted."
            return GapReading(gap, None, reason, None, self._in_training(gap))
        share = float(posterior(np.array([gap]), self._mixture)[0])
        return GapReading(gap, share, None, self._is_opposite(gap, share), self._in_training(gap))

    def _is_opposite(self, gap: float, share: float) -> bool:
        """Returns whether the gap is wider than the imbalanced group's mean, yet not ascribed to that group."""
        assert self._mixture is not None
        others = [row for row in range(len(self._mixture.roles)) if row != self._mixture.balanced]
        widest = float(np.abs(self._mixture.means[others]).max())
        return abs(gap) > widest and share < OPPOSITE_POSTERIOR

    def _in_training(self, gap: float) -> GapInTraining | None:
        if not len(self._train_gaps):
            return None
        low, high = float(self._train_gaps[0]), float(self._train_gaps[-1])
        # In the precision of the training gaps: the widest of them is not outside of itself.
        value = self._train_gaps.dtype.type(gap)
        return GapInTraining(
            outside=bool(value < self._train_gaps[0] or value > self._train_gaps[-1]),
            min=low,
            max=high,
            quantile=float(np.searchsorted(self._train_gaps, value, side="right") / len(self._train_gaps)),
        )


def gap_of(audio: NDArray[np.float32], visual: NDArray[np.float32], label: int) -> float:
    """Returns the modality gap of one class.

    Args:
        audio: (C,) probabilities by audio alone.
        visual: (C,) probabilities by visual alone.
        label: the class, 0 to C - 1.
    """
    # The gap's formula takes logits, and log-probabilities are such.
    logits = [torch.from_numpy(values)[None].log() for values in (audio, visual)]
    return float(modality_gap(logits[0], logits[1], torch.tensor([label])))
