"""Views of an epoch whose looks are given, for tests of methods that act between epochs."""

from __future__ import annotations

import numpy as np
import torch

from worker.objectives.base import EpochView, Evaluated

NUM_TRAIN, NUM_VALIDATION, NUM_CLASSES = 40, 20, 4


def logits_of(labels: np.ndarray, strength: float, noise: float, seed: int) -> np.ndarray:
    """Logits that show the class by `strength` in noise."""
    rng = np.random.default_rng(seed)
    return (strength * np.eye(NUM_CLASSES)[labels] + noise * rng.normal(size=(len(labels), NUM_CLASSES))).astype("f4")


def view_of(
    epoch: int, *, audio: float, visual: float, noise: float = 0.5, features=None, swap_noise=False
) -> EpochView:
    """A view in which audio and visual show the class by the given strengths; fused logits are the sum of both."""
    labels = np.arange(NUM_TRAIN + NUM_VALIDATION) % NUM_CLASSES
    seeds = (2, 1) if swap_noise else (1, 2)
    each = {"audio": logits_of(labels, audio, noise, seeds[0]), "visual": logits_of(labels, visual, noise, seeds[1])}
    shown = features or each

    def look(rows, drops=(None,)):
        fused = {
            None: each["audio"] + each["visual"],
            "audio": each["visual"],
            "visual": each["audio"],
        }
        return Evaluated(
            {name: values[rows] for name, values in shown.items()},
            each["audio"][rows],
            each["visual"][rows],
            {drop: fused[drop][rows] for drop in drops},
        )

    return EpochView(
        epoch,
        np.arange(NUM_TRAIN),
        None,
        None,
        labels=labels,
        validation=np.arange(NUM_TRAIN, NUM_TRAIN + NUM_VALIDATION),
        look=look,
        generator=torch.Generator().manual_seed(0),
    )
