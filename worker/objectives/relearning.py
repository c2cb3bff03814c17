"""Diagnosing and re-learning: encoders go part of the way back to their first weights.

Wei et al., "Diagnosing and Re-learning for Balanced Multimodal Learning", ECCV 2024. We follow the authors' code: how
well features separate the classes is the purity of k-means clusters; its difference between training and validation
says how far the encoder goes back. They cut the validation part from the training set; here it is the run's validation
split. All parameters of the encoders take part, buffers (batch norm's statistics) and the optimizer's state do not.

A checkpoint holds the first weights: a run that resumes does not read the file that it may have begun from again.

Shapes: n samples, F features.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from worker.contract.errors import TrainingError
from worker.objectives.base import MODALITIES, EpochPlan, EpochView, Objective, Scalar, Setup


def purity(features: Float[np.ndarray, "n F"], labels: Int[np.ndarray, " n"], num_clusters: int) -> float:
    """Returns the share of samples that have the majority label of their k-means cluster, 0 to 1.

    Args:
        features: (n, F), float; each is scaled to -1..1 over the samples first.
        labels: (n,) true classes.
        num_clusters: as a rule the number of classes; at most n are made.

    Source: Wei et al. 2024, authors' code (k-means with random_state 0).
    """
    from sklearn.cluster import KMeans  # half a second to import: only where a run re-learns

    low, high = features.min(axis=0), features.max(axis=0)
    scaled = 2 * (features - low) / np.maximum(high - low, 1e-12) - 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal features give fewer clusters, which is as good an answer
        clusters = KMeans(min(num_clusters, len(features)), random_state=0, n_init=1).fit_predict(scaled)
    majority = sum(np.bincount(labels[clusters == cluster]).max() for cluster in np.unique(clusters))
    return float(majority) / len(labels)


def pull(train_purity: float, validation_purity: float, strength: float) -> float:
    """Returns how far an encoder goes back to its first weights, 0 to 1: tanh(lambda |difference|).

    Args:
        train_purity: of the training samples.
        validation_purity: of the validation samples.
        strength: lambda, at least 0.

    Source: Wei et al. 2024.
    """
    return math.tanh(strength * abs(train_purity - validation_purity))


class Relearning(Objective):
    """Joint training, with a step back now and then."""

    def __init__(self, *, every_epochs: int | None, max_times: int, strength: float) -> None:
        """Takes the coefficients of the spec by their names there."""
        self._given_every, self._max_times, self._strength = every_epochs, max_times, strength
        self._every = 1
        self._times = 0
        self._first: dict[str, list[Tensor]] = {}
        self._encoders: dict[str, list[torch.nn.Parameter]] = {}
        self._num_classes = 0

    def setup(self, setup: Setup) -> None:
        """Keeps copies of the encoders' first weights.

        Raises:
            TrainingError: the encoders have nothing to train.
        """
        self._every = self._given_every or max(1, setup.epochs // 5)
        self._num_classes = setup.num_classes
        self._encoders = {name: list(setup.branches[name]) for name in MODALITIES}
        if not all(self._encoders.values()):
            raise TrainingError("relearning needs encoders with weights: choose another encoder.", code="encoder-unfit")
        self._first = {name: [p.detach().clone() for p in own] for name, own in self._encoders.items()}

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Steps back where it is time to, and trains on everything."""
        finished = view.epoch - 1
        method: dict[str, Scalar] = {f"{name}_pull": 0.0 for name in MODALITIES}
        if finished and finished % self._every == 0 and self._times < self._max_times:
            self._times += 1
            found = {split: view.evaluate(rows).features for split, rows in self._splits(view).items()}
            for name in MODALITIES:
                train, validation = (
                    purity(found[split][name], view.labels[rows], self._num_classes)
                    for split, rows in self._splits(view).items()
                )
                share = pull(train, validation, self._strength)
                self._step_back(name, share)
                method[f"{name}_pull"] = share
        return EpochPlan("single", view.rows, method)

    def _splits(self, view: EpochView) -> dict[str, NDArray[np.int64]]:
        return {"train": view.rows, "validation": view.validation}

    @torch.no_grad()
    def _step_back(self, name: str, share: float) -> None:
        """Mixes an encoder's weights with its first ones."""
        for parameter, first in zip(self._encoders[name], self._first[name], strict=True):
            parameter.lerp_(first.to(parameter), share)

    def state(self) -> dict[str, Tensor | Scalar]:
        """Returns how often it stepped back, and the first weights."""
        first = {f"{name}_first.{i}": value for name, own in self._first.items() for i, value in enumerate(own)}
        return {"times": self._times, **first}

    def restore(self, saved: Mapping[str, Tensor | Scalar]) -> None:
        """Takes back what `state` gave."""
        self._times = int(cast(int, saved["times"]))
        for name, own in self._first.items():
            self._first[name] = [cast(Tensor, saved[f"{name}_first.{i}"]).to(value) for i, value in enumerate(own)]
