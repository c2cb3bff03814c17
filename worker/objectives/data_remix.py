"""Data remixing: after a warm-up each sample trains only the modality that is less sure of it.

Ma, Chen, Deng, "Improving Multimodal Learning Balance and Sufficiency through Data Remixing", ICML 2025. We follow the
authors' code: sure is KL(p_m || uniform), whatever the class; the samples of visual come first, then those of audio, in
batches of one modality, the other's features zeroed; the fused head never sees both after the warm-up. Their six
classes are any number here, and the epoch is not chosen on the test split.

Shapes: n training samples, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from worker.objectives.base import MODALITIES, EpochPlan, EpochView, Objective, Pass, Scalar, Setup, StepView


def confidence(logits: Float[np.ndarray, "n C"]) -> Float[np.ndarray, " n"]:
    """Returns KL(softmax(logits) || uniform) of each sample, nats: 0 where nothing is known, ln C where all is sure.

    Args:
        logits: (n, C), float.

    Source: Ma et al. 2025.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    values: NDArray[np.float64] = (np.exp(log_p) * log_p).sum(axis=1) + np.log(logits.shape[1])
    return values


def assigned(audio_logits: Float[np.ndarray, "n C"], visual_logits: Float[np.ndarray, "n C"]) -> Int[np.ndarray, " n"]:
    """Returns the column of the modality that each sample trains: 0 audio, 1 visual; audio where both are as sure.

    Args:
        audio_logits: (n, C), float, of the audio head.
        visual_logits: (n, C), float, of the visual head.

    Source: Ma et al. 2025: the one with the lower confidence.
    """
    columns: NDArray[np.int64] = (confidence(visual_logits) < confidence(audio_logits)).astype(np.int64)
    return columns


class DataRemix(Objective):
    """Warm-up with both modalities, then batches of one."""

    trains_heads: ClassVar[bool] = True

    def __init__(self, *, warm_up_epochs: int, warm_up_weight: float, gamma: float) -> None:
        """Takes the coefficients of the spec by their names there."""
        self._given_warm_up, self._warm_up_weight, self._gamma = warm_up_epochs, warm_up_weight, gamma
        self._warm_up_epochs = 0
        self._remixes = False

    def setup(self, setup: Setup) -> None:
        """Fixes the number of warm-up epochs."""
        self._warm_up_epochs = min(self._given_warm_up, setup.epochs // 2)

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Assigns each training sample to the modality that is less sure of it."""
        self._remixes = view.epoch > self._warm_up_epochs
        if not self._remixes:
            return EpochPlan("warm-up", view.rows)
        found = view.evaluate(view.rows)
        column = assigned(found.audio_logits, found.visual_logits)
        shares = {f"{name}_share": float((column == index).mean()) for index, name in enumerate(MODALITIES)}
        present = column[:, None] == np.arange(2)
        return EpochPlan("adaptive", view.rows, dict(shares), present=present, groups=1 - column)

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass: fused and unimodal losses, of one modality alone after the warm-up."""
        fused = step.cross_entropy(step.output.fused_logits)
        if not self._remixes or step.present is None:
            audio = self._warm_up_weight * step.cross_entropy(step.output.audio_logits)
            visual = self._warm_up_weight * step.cross_entropy(step.output.visual_logits)
            yield Pass(fused + audio + visual, {"fused": fused, "audio": audio, "visual": visual})
            return
        # A batch holds one modality: its mask is the same in every row.
        is_audio = bool(step.present[0, 0])
        logits = step.output.audio_logits if is_audio else step.output.visual_logits
        own = self._gamma * step.cross_entropy(logits)
        yield Pass(fused + own, {"fused": fused, "audio" if is_audio else "visual": own})

    def state(self) -> dict[str, Tensor | Scalar]:
        """Returns the stage; the assignment is the plan's, which the loop keeps."""
        return {"remixes": self._remixes}

    def restore(self, saved: Mapping[str, Tensor | Scalar]) -> None:
        """Takes back what `state` gave."""
        self._remixes = bool(saved["remixes"])
