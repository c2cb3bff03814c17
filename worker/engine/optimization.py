"""Optimizers and schedules, by the names in their specs.

This module must not know models or objectives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

Schedule = Callable[[int, int, float], float]
"""(epoch from 1, epochs, share of the epoch done 0..1) -> factor on the learning rate."""


def sgd(
    parameters: Iterable[nn.Parameter], *, learning_rate: float, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    """Returns stochastic gradient descent with momentum."""
    return torch.optim.SGD(parameters, lr=learning_rate, weight_decay=weight_decay, momentum=momentum)


def adamw(parameters: Iterable[nn.Parameter], *, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Returns Adam with decoupled weight decay, in its fused form (on a CPU a third of the loop's time)."""
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)


def constant(*, warm_up_epochs: float) -> Schedule:
    """Returns a schedule that keeps the learning rate."""
    return warmed_up(lambda epoch, epochs, done: 1.0, warm_up_epochs)


def cosine(*, final_share: float, warm_up_epochs: float) -> Schedule:
    """Returns half a cosine, step by step, from 1 to `final_share`."""

    def factor(epoch: int, epochs: int, done: float) -> float:
        progress = (epoch - 1 + done) / epochs
        return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * progress))

    return warmed_up(factor, warm_up_epochs)


def step(*, step_epochs: int, factor: float, warm_up_epochs: float) -> Schedule:
    """Returns a schedule that multiplies the learning rate by `factor` every `step_epochs` epochs."""
    return warmed_up(lambda epoch, epochs, done: factor ** ((epoch - 1) // step_epochs), warm_up_epochs)


def warmed_up(schedule: Schedule, epochs: float) -> Schedule:
    """Returns a schedule times a straight line from 0 to 1 over its first epochs.

    Args:
        schedule: what it is times.
        epochs: of the rise; 0: none.

    Source: common practice (Goyal et al. 2017).
    """
    if epochs == 0:
        return schedule
    return lambda epoch, of, done: schedule(epoch, of, done) * min(1.0, (epoch - 1 + done) / epochs)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
