"""P(imbalanced | gap): how much of a gap the mixture ascribes to its imbalanced components.

One formula in torch, for the loss on any device; the numpy functions call it. Nothing here carries
gradient. This module must not know how a mixture was fitted.

Shapes: N samples, K components.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from worker.science.mixture import MixtureParameters


@torch.no_grad()
def component_posteriors_tensor(gaps: Float[Tensor, " N"], parameters: MixtureParameters) -> Float[Tensor, "N K"]:
    """Return P(component | gap) by Bayes' theorem, in log space, without gradient.

    Args:
        gaps: (N,), float32 or float64, gap units.
        parameters: the mixture of K components.

    Returns:
        (N, K), dtype and device of `gaps`, in [0, 1], rows sum to 1, columns in the order of the roles.

    Source: paper (responsibilities of the mixture).
    """
    values = gaps.detach().unsqueeze(1)
    constant = np.log(parameters.weights) - 0.5 * np.log(2 * math.pi * parameters.variances)
    means, variances, constants = (
        torch.as_tensor(array.copy(), dtype=gaps.dtype, device=gaps.device)
        for array in (parameters.means, parameters.variances, constant)
    )
    return (constants - (values - means) ** 2 / (2 * variances)).softmax(dim=1)


@torch.no_grad()
def posterior_tensor(gaps: Float[Tensor, " N"], parameters: MixtureParameters | None) -> Float[Tensor, " N"]:
    """Return r = P(imbalanced | gap), without gradient; 0 where there is no mixture.

    Args:
        gaps: (N,), float32 or float64, gap units.
        parameters: the paper's mixture, or the signed one, for which r = 1 - P(balanced | gap); None
            where the fit was degenerate.

    Returns:
        (N,), dtype and device of `gaps`, in [0, 1]. With unequal variances r is not monotone in |gap|.

    Source: two components: paper; signed: ours.
    """
    if parameters is None:
        return torch.zeros_like(gaps)
    shares = component_posteriors_tensor(gaps, parameters)
    others = [row for row in range(len(parameters.roles)) if row != parameters.balanced]
    return shares[:, others].sum(dim=1).clamp(max=1.0)


@torch.no_grad()
def tail_posteriors_tensor(gaps: Float[Tensor, " N"], parameters: MixtureParameters) -> Float[Tensor, "N 2"]:
    """Return P(audio_dominant | gap) and P(visual_dominant | gap) of a signed mixture, without gradient.

    Args:
        gaps: (N,), float32 or float64, gap units.
        parameters: a signed mixture.

    Returns:
        (N, 2), dtype and device of `gaps`, in [0, 1]: audio_dominant, visual_dominant. A tail that has no
        component is 0 everywhere.

    Raises:
        ValueError: the mixture has no sides.

    Source: ours.
    """
    if not parameters.signed:
        raise ValueError(f"expected a signed mixture, which has two tails, got roles {parameters.roles}")
    shares = component_posteriors_tensor(gaps, parameters)
    sides = [
        [row for row, role in enumerate(parameters.roles) if role == side]
        for side in ("audio_dominant", "visual_dominant")
    ]
    return torch.stack([shares[:, rows].sum(dim=1).clamp(max=1.0) for rows in sides], dim=1)


@torch.no_grad()
def rank_posterior_tensor(gaps: Float[Tensor, " N"], sorted_abs_reference: Float[Tensor, " R"]) -> Float[Tensor, " N"]:
    """Return the rank of each |gap| among reference gaps, as a share, without gradient.

    Args:
        gaps: (N,), float32 or float64, gap units.
        sorted_abs_reference: (R,), dtype and device of `gaps`, |gaps| of the last epoch, rising.

    Returns:
        (N,), dtype and device of `gaps`, in (0, 1]. Equal gaps share their mean rank.

    Raises:
        ValueError: the reference is empty.

    Source: ours (`when_not_bimodal: rank`).
    """
    count = len(sorted_abs_reference)
    if count == 0:
        raise ValueError("expected at least one reference gap, got none")
    sizes = gaps.detach().abs()
    below = torch.searchsorted(sorted_abs_reference, sizes, right=False)
    not_above = torch.searchsorted(sorted_abs_reference, sizes, right=True)
    return (((below + not_above + 1).to(gaps.dtype)) / (2 * count)).clamp(max=1.0)


def component_posteriors(gaps: Float[np.ndarray, " N"], parameters: MixtureParameters) -> Float64[np.ndarray, "N K"]:
    """Return P(component | gap): `component_posteriors_tensor` in numpy.

    Args:
        gaps: (N,), float, gap units.
        parameters: the mixture of K components.

    Returns:
        (N, K), float64, in [0, 1], rows sum to 1, columns in the order of the roles.

    Source: paper (responsibilities of the mixture).
    """
    return component_posteriors_tensor(_as_tensor(gaps), parameters).numpy()


def posterior(gaps: Float[np.ndarray, " N"], parameters: MixtureParameters | None) -> Float64[np.ndarray, " N"]:
    """Return r = P(imbalanced | gap): `posterior_tensor` in numpy.

    Args:
        gaps: (N,), float, gap units.
        parameters: the paper's or the signed mixture, or None where the fit was degenerate (r = 0).

    Returns:
        (N,), float64, in [0, 1].

    Source: two components: paper; signed: ours.
    """
    return posterior_tensor(_as_tensor(gaps), parameters).numpy()


def rank_posterior(gaps: Float[np.ndarray, " N"]) -> Float64[np.ndarray, " N"]:
    """Return the rank of |gap| among these gaps, as a share: `rank_posterior_tensor` in numpy.

    Args:
        gaps: (N,), float, gap units, at least one.

    Returns:
        (N,), float64, in (0, 1].

    Raises:
        ValueError: there is no gap.

    Source: ours (`when_not_bimodal: rank`).
    """
    values = _as_tensor(gaps)
    return rank_posterior_tensor(values, values.abs().sort().values).numpy()


def _as_tensor(gaps: Float[np.ndarray, " N"]) -> Float[Tensor, " N"]:
    """Return the gaps as a float64 tensor of their own (a memory-mapped array may be read-only)."""
    return torch.from_numpy(np.array(gaps, dtype=np.float64))
