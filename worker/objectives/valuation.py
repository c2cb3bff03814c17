"""Modality valuation: who contributes little to being right is trained more, with the other modality masked.

Wei et al., "Enhancing Multimodal Cooperation via Sample-level Modality Valuation", CVPR 2024. We follow the authors'
code: being right with both modalities is worth 2, with one alone 1, and the contribution is the Shapley value. Both
methods start each epoch from the original samples. BalanceBenchmark values both together with 1, so that its thresholds
mean something else, and reuses the first batch's correctness: not followed. A masked modality is absent at the
features. Both extend joint training.

Shapes: n training samples, C classes, R visits of an epoch; columns are audio, visual.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from worker.objectives.base import MODALITIES, EpochPlan, EpochView, Objective
from worker.objectives.window import Window


def contributions(
    right: Bool[np.ndarray, " n"], audio_right: Bool[np.ndarray, " n"], visual_right: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, "n 2"]:
    """Returns the Shapley value of audio and visual of each sample.

    Args:
        right: (n,) whether the fused prediction is right.
        audio_right: (n,) the same with the visual features zeroed.
        visual_right: (n,) the same with the audio features zeroed.

    Returns:
        (n, 2) float64, one of -0.5, 0, 0.5, 1, 1.5: c_m = (v(m) + v(all) - v(other)) / 2.

    Source: Wei et al. 2024, authors' code: v(all) is 2 or 0, v(m) is 1 or 0.
    """
    both = 2.0 * right
    audio, visual = audio_right.astype(float), visual_right.astype(float)
    values: NDArray[np.float64] = np.stack([audio + both - visual, visual + both - audio], axis=1) / 2
    return values


def num_copies(contribution: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n 2"]:
    """Returns how often a sample is trained on with one modality alone, beside once with both.

    Args:
        contribution: (n, 2) of audio, visual.

    Returns:
        (n, 2) int64: 3 where c < -0.1, 2 where c < 0.4, 1 where c < 1, else 0.

    Source: Wei et al. 2024, authors' code.
    """
    copies: NDArray[np.int64] = np.select([contribution < -0.1, contribution < 0.4, contribution < 1], [3, 2, 1], 0)
    return copies


def num_added(
    audio_gap: float, visual_gap: float, num_samples: int, *, strength: float, shape: Literal["linear", "tanh", "power"]
) -> int:
    """Returns how many samples are added for the difference of two modalities.

    Args:
        audio_gap: 1 - mean contribution of audio.
        visual_gap: the same of visual.
        num_samples: n.
        strength: alpha, at least 0.
        shape: of the difference.

    Source: Wei et al. 2024, authors' code: int(alpha * 2/3 * |difference| * n), and its variants.
    """
    difference = abs(audio_gap - visual_gap)
    shaped = {"linear": difference, "tanh": float(np.tanh(difference)), "power": difference**1.5}[shape]
    return int(strength * 2 / 3 * shaped * num_samples)


def valued(view: EpochView, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the contributions of samples, (n, 2), from one evaluation pass over them.

    Args:
        view: of the epoch that begins.
        rows: (n,) store indices.
    """
    found = view.evaluate(rows, [None, "audio", "visual"]).fused_logits
    labels = view.labels[rows]
    right = {drop: logits.argmax(axis=1) == labels for drop, logits in found.items()}
    return contributions(right[None], right["visual"], right["audio"])


def masked_plan(rows: NDArray[np.int64], alone: dict[int, NDArray[np.int64]], method: dict[str, float]) -> EpochPlan:
    """Returns a plan: all rows once with both modalities, and others with one alone.

    Args:
        rows: of the training split.
        alone: column of the modality that stays -> store indices, repeated as often as they are visited.
        method: for the event.
    """
    visits = [rows, *alone.values()]
    present = [np.ones((len(rows), 2), dtype=bool)]
    for column, own in alone.items():
        mask = np.zeros((len(own), 2), dtype=bool)
        mask[:, column] = True
        present.append(mask)
    return EpochPlan("single", np.concatenate(visits), dict(method), present=np.concatenate(present))


class SampleValuation(Objective):
    """Every sample is valued, and repeated by its own contributions."""

    def __init__(self, *, first_epoch: int, last_epoch: int | None) -> None:
        """Takes the window."""
        self._window = Window(first_epoch, last_epoch)

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Values the training samples and adds the copies."""
        if not self._window.holds(view.epoch):
            return EpochPlan("single", view.rows)
        contribution = valued(view, view.rows)
        copies = num_copies(contribution)
        alone = {column: np.repeat(view.rows, copies[:, column]) for column in range(2)}
        method: dict[str, float] = {}
        for column, name in enumerate(MODALITIES):
            method[f"{name}_contribution"] = float(contribution[:, column].mean())
            method[f"{name}_copies"] = int(copies[:, column].sum())
        return masked_plan(view.rows, alone, method)


class ModalityValuation(Objective):
    """A share of the samples is valued, and random ones are added for the modality that contributes less."""

    def __init__(
        self,
        *,
        first_epoch: int,
        last_epoch: int | None,
        valued_share: float,
        strength: float,
        shape: Literal["linear", "tanh", "power"],
    ) -> None:
        """Takes the coefficients of the spec by their names there."""
        self._window = Window(first_epoch, last_epoch)
        self._valued_share, self._strength = valued_share, strength
        self._shape: Literal["linear", "tanh", "power"] = shape

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Values a random share of the training samples and adds random ones, drawn with replacement."""
        if not self._window.holds(view.epoch):
            return EpochPlan("single", view.rows)
        number = max(1, round(self._valued_share * len(view.rows)))
        chosen = torch.randperm(len(view.rows), generator=view.generator)[:number].numpy()
        means = valued(view, np.sort(view.rows[chosen])).mean(axis=0)
        gaps = 1 - means
        added = num_added(float(gaps[0]), float(gaps[1]), len(view.rows), strength=self._strength, shape=self._shape)
        weaker = int(gaps.argmax())
        drawn = view.rows[torch.randint(len(view.rows), (added,), generator=view.generator).numpy()]
        method = {f"{name}_contribution": float(means[column]) for column, name in enumerate(MODALITIES)}
        method |= {f"{name}_added": added * (weaker == column) for column, name in enumerate(MODALITIES)}
        return masked_plan(view.rows, {weaker: drawn}, method)
