"""PMR: the slower modality also learns to be nearest to the prototype of its class.

Fan et al., "PMR: Prototypical Modal Rebalance for Multimodal Learning", CVPR 2023. d_m,c = -||z_m - prototype_m,c||;
s_m = mean p(d_m)[y]; L = CE(f) + alpha CE(d_w), w the modality with the smaller s of this batch: the binary switch of
the official code (its repository), not the graded weights of the paper. Prototypes are class means of the features in
evaluation mode over a share of the training clips, taken before each epoch: momentum old + (1 - momentum) new. The
paper's entropy regulariser (- mu H of the stronger modality's prototype distribution, in the first epochs) is in
neither public code; it is an option, off by default. Unlike the official code, which reads the first tenth of the
batches and divides by zero where that lacks a class, each class gives its share, and one without clips is no candidate.
A small constant in the distance keeps its gradient finite on a prototype. BalanceBenchmark's version for three
modalities has no prototype loss at all.

Shapes: B clips, C classes, D features of a modality.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from worker.objectives.base import (
    MODALITIES,
    EpochPlan,
    EpochView,
    Modality,
    Objective,
    Pass,
    Scalar,
    Setup,
    StepView,
)
from worker.objectives.window import Window
from worker.science.gap import true_class_probability

DISTANCE_EPSILON = 1e-8
"""Added to squared distances."""
FEWEST_CLIPS = 4
"""Clips of a class that its prototype is the mean of at least, where it has so many."""


def chosen_clips(
    rows: NDArray[np.int64], labels: NDArray[np.int64], share: float, generator: torch.Generator
) -> NDArray[np.int64]:
    """Returns the clips that prototypes are made of: of each class a random share, and at least a few.

    Args:
        rows: store indices of the training split.
        labels: true classes of all samples of the store.
        share: above 0, at most 1.
        generator: CPU.

    Source: ours; the official code takes the first tenth of the batches.
    """
    found = []
    for label in np.unique(labels[rows]):
        own = rows[labels[rows] == label]
        size = min(len(own), max(FEWEST_CLIPS, math.ceil(share * len(own))))
        found.append(own[torch.randperm(len(own), generator=generator)[:size].numpy()])
    return np.sort(np.concatenate(found))


def class_means(
    features: Float[Tensor, "B D"], labels: Int[Tensor, " B"], num_classes: int
) -> tuple[Float[Tensor, "C D"], Bool[Tensor, " C"]]:
    """Returns the mean feature of each class, and which classes have clips; the mean of one without is 0.

    Args:
        features: (B, D), float.
        labels: (B,), integer.
        num_classes: C.

    Source: Fan et al. 2023.
    """
    counts = torch.bincount(labels, minlength=num_classes)
    sums = features.new_zeros(num_classes, features.shape[1]).index_add_(0, labels, features)
    return sums / counts.clamp(min=1)[:, None], counts > 0


def prototype_logits(
    features: Float[Tensor, "B D"], prototypes: Float[Tensor, "C D"], known: Bool[Tensor, " C"]
) -> Float[Tensor, "B C"]:
    """Returns minus the Euclidean distance to each prototype; the least number for classes that have none.

    Args:
        features: (B, D), float.
        prototypes: (C, D), float.
        known: (C,), which classes have a prototype.

    Source: the official code of Fan et al. 2023; its distance without the constant.
    """
    squares = (features[:, None, :] - prototypes[None, :, :]).square().sum(dim=2)
    logits = -(squares + DISTANCE_EPSILON).sqrt()
    return logits.masked_fill(~known, torch.finfo(logits.dtype).min)


def mean_entropy(logits: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
    """Returns the mean entropy of the softmax of logits, nats.

    Args:
        logits: (B, C), float.

    Source: textbook.
    """
    log_probabilities = logits.log_softmax(dim=1)
    probabilities = log_probabilities.exp()
    # A class without a prototype has probability 0 and a log beyond bounds: 0 times that is taken as 0.
    return -torch.where(probabilities > 0, probabilities * log_probabilities, 0.0).sum(dim=1).mean()


class Pmr(Objective):
    """Joint training with a prototype loss on the slower modality."""

    def __init__(
        self,
        *,
        first_epoch: int,
        last_epoch: int | None,
        alpha: float,
        momentum: float,
        share: float,
        entropy_weight: float,
        entropy_epochs: int,
    ) -> None:
        """Takes the coefficients of the spec by their names there."""
        self._window = Window(first_epoch, last_epoch)
        self._alpha, self._momentum, self._share = alpha, momentum, share
        self._entropy_weight, self._entropy_epochs = entropy_weight, entropy_epochs
        self._num_classes = 0
        self._prototypes: dict[Modality, Tensor] = {}
        self._known = torch.zeros(0, dtype=torch.bool)

    def setup(self, setup: Setup) -> None:
        """Learns the number of classes."""
        self._num_classes = setup.num_classes

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Moves the prototypes towards the class means of now."""
        if not self._window.holds(view.epoch):
            return EpochPlan("single", view.rows)
        rows = chosen_clips(view.rows, view.labels, self._share, view.generator)
        features, labels = view.evaluate(rows).features, torch.from_numpy(view.labels[rows])
        for modality in MODALITIES:
            new, self._known = class_means(torch.from_numpy(features[modality]), labels, self._num_classes)
            old = self._prototypes.get(modality, new)
            self._prototypes[modality] = self._momentum * old + (1 - self._momentum) * new
        return EpochPlan("single", view.rows, {"prototype_clips": len(rows)})

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass, and reports each modality's score and the weight of its prototype loss."""
        if not self._window.holds(step.epoch):
            yield from super().passes(step)
            return
        fused, device = step.cross_entropy(step.output.fused_logits), step.labels.device
        known = self._known.to(device)
        logits = {
            name: prototype_logits(step.output.features[name], self._prototypes[name].to(device), known)
            for name in MODALITIES
        }
        scores = {name: true_class_probability(each.detach(), step.labels).mean() for name, each in logits.items()}
        slower = {
            "audio": (scores["audio"] < scores["visual"]).float(),
            "visual": (scores["visual"] < scores["audio"]).float(),
        }
        losses = {name: step.cross_entropy(each) for name, each in logits.items()}
        terms = {"fused": fused, "prototypes": slower["audio"] * losses["audio"] + slower["visual"] * losses["visual"]}
        total = fused + self._alpha * terms["prototypes"]
        if self._entropy_weight > 0 and step.epoch <= self._entropy_epochs:
            entropies = {name: mean_entropy(each) for name, each in logits.items()}
            terms["entropy"] = slower["visual"] * entropies["audio"] + slower["audio"] * entropies["visual"]
            total = total - self._entropy_weight * terms["entropy"]
        yield Pass(
            total,
            terms,
            coefficients={
                **{f"{name}_score": scores[name] for name in MODALITIES},
                **{f"{name}_prototype_weight": self._alpha * slower[name] for name in MODALITIES},
            },
        )

    def state(self) -> dict[str, Tensor | Scalar]:
        """Returns the prototypes, and which classes have one."""
        if not self._prototypes:
            return {}
        return {**{f"{name}_prototypes": each for name, each in self._prototypes.items()}, "known": self._known}

    def restore(self, saved: Mapping[str, Tensor | Scalar]) -> None:
        """Takes back what `state` gave."""
        if saved:
            self._prototypes = {name: cast(Tensor, saved[f"{name}_prototypes"]) for name in MODALITIES}
            self._known = cast(Tensor, saved["known"])
