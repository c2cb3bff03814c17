"""Scaling and clipping of gradients, the tools of the methods that modulate them.

Shapes: any.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worker.objectives.base import Gradients


def scale_gradient(values: Tensor, factor: Tensor | float) -> Tensor:
    """Returns the same values, whose gradient comes back multiplied.

    Args:
        values: any shape, finite.
        factor: a scalar; nothing flows into it.

    Source: ours; what the backward hooks of AGM's and ARL's code do.
    """
    if isinstance(factor, Tensor):
        factor = factor.detach()
    return values.detach() + factor * (values - values.detach())


def clip_total_norm(gradients: Gradients, max_norm: float) -> Gradients:
    """Returns gradients whose norm, all taken together, is at most `max_norm`.

    Args:
        gradients: by parameter; not empty.
        max_norm: greater than 0.

    Source: torch.nn.utils.clip_grad_norm_.
    """
    norm = torch.nn.utils.get_total_norm(gradients.values())
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return {parameter: gradient * factor for parameter, gradient in gradients.items()}
