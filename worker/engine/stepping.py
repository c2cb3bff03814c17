"""From the gradients of batches to optimizer steps: gathering over batches, clipping, stepping.

This module must not know models, losses or epochs.
"""

from __future__ import annotations

import torch
from torch import nn

from worker.objectives.base import Gradients


class Stepper:
    """Steps one optimizer."""

    def __init__(self, optimizer: torch.optim.Optimizer, clip_norm: float | None) -> None:
        """Binds the optimizer.

        Args:
            optimizer: of all that the loss trains.
            clip_norm: largest norm of the whole gradient; None: no limit.
        """
        self._optimizer = optimizer
        self._clip_norm = clip_norm
        self._sum: Gradients = {}
        self._num_samples = 0

    @property
    def pending(self) -> bool:
        """Whether gradients are gathered that no step was made with."""
        return self._num_samples > 0

    def gather(self, gradients: Gradients, num_samples: int) -> None:
        """Takes the gradient of a batch's mean loss.

        Args:
            gradients: by parameter; kept, not copied, and changed.
            num_samples: clips of the batch, by which it counts.
        """
        if not self.pending:
            self._sum, self._num_samples = dict(gradients), num_samples
            return
        # The running mean over clips: m <- m + (g - m) share.
        self._num_samples += num_samples
        share = num_samples / self._num_samples
        for parameter, mean in self._sum.items():
            given = gradients.get(parameter)
            mean.mul_(1 - share) if given is None else mean.lerp_(given, share)
        for parameter in gradients.keys() - self._sum.keys():
            self._sum[parameter] = gradients[parameter] * share

    def put(self) -> None:
        """Puts what is gathered on the parameters."""
        for parameter, gradient in self._sum.items():
            parameter.grad = gradient

    def step(self) -> None:
        """Clips and steps with what was put, and forgets it."""
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(list(self._sum), self._clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._sum, self._num_samples = {}, 0
