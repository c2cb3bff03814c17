"""The loss of stage 2: aims 1 to 3 of the paper, with the coefficients that it leaves open.

    L = mean_i [ (1 + alpha (1 - r_i)) CE_i(fused) + CE_i(audio) + CE_i(visual) + lambda (1 + kappa r_i) |g_i| ]
        + beta KL

This module must not know where r comes from, nor the model or the optimizer.

Shapes: B samples of a batch, C classes.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from worker.science.gap import modality_gap

GapGradient = Literal["both", "weaker"]

MIN_POSTERIOR_SUM = 2.0
"""Below this many (expected) imbalanced samples their variance means nothing, and the KL term is 0. Ours."""


@dataclass(frozen=True, eq=False)
class AdaptiveLossTerms:
    """The parts of the loss, each a scalar with its coefficient in it, and their sum.

    Attributes:
        fused: mean of (1 + alpha (1 - r)) CE(fused).
        audio: mean CE(audio).
        visual: mean CE(visual).
        gap: mean of lambda (1 + kappa r) |g|.
        kl: beta KL.
        total: the sum of the five; the one to go backward from.
    """

    fused: Float[Tensor, ""]
    audio: Float[Tensor, ""]
    visual: Float[Tensor, ""]
    gap: Float[Tensor, ""]
    kl: Float[Tensor, ""]
    total: Float[Tensor, ""]


def fusion_weight(posterior: Float[Tensor, " B"], alpha: float) -> Float[Tensor, " B"]:
    """Return each sample's factor on CE(fused), 1 + alpha (1 - r), without gradient.

    Args:
        posterior: (B,), float, r = P(imbalanced | gap), in [0, 1].
        alpha: at least 0.

    Returns:
        (B,), dtype of `posterior`, 1 to 1 + alpha.

    Source: aim: paper; form and alpha: ours.
    """
    return 1 + alpha * (1 - posterior.detach())


def balanced_divergence(
    gaps: Float[Tensor, " B"],
    posterior: Float[Tensor, " B"],
    balanced_mean: float,
    balanced_variance: float,
    *,
    variance_floor: float,
) -> Float[Tensor, ""]:
    """Return KL(imbalanced samples of the batch || balanced component), both as Gaussians.

    Args:
        gaps: (B,), float, with gradient.
        posterior: (B,), float, in [0, 1]; receives no gradient.
        balanced_mean: m_b, gap units.
        balanced_variance: s_b^2, squared gap units.
        variance_floor: V, squared gap units, above 0, for both variances.

    Returns:
        Scalar, nats, at least 0 (up to rounding), never clamped: a clamp would kill the gradient where it matters.
        0 where fewer than MIN_POSTERIOR_SUM samples are expected to be imbalanced.

    Source: aim 2: paper; moments over the batch, floor: ours.
    """
    weights = posterior.detach().to(gaps.dtype)
    total = weights.sum()
    enough = total >= MIN_POSTERIOR_SUM
    shares = weights / torch.where(enough, total, torch.ones_like(total))  # no 0 / 0, which would poison gradients
    mean = (shares * gaps).sum()
    variance = (shares * (gaps - mean) ** 2).sum().clamp(min=variance_floor)
    target = max(balanced_variance, variance_floor)
    divergence = 0.5 * (torch.log(target / variance) + (variance + (mean - balanced_mean) ** 2) / target - 1)
    return torch.where(enough, divergence, torch.zeros_like(divergence))


def adaptive_loss(
    fused_logits: Float[Tensor, "B C"],
    audio_logits: Float[Tensor, "B C"],
    visual_logits: Float[Tensor, "B C"],
    labels: Int[Tensor, " B"],
    posterior: Float[Tensor, " B"],
    balanced_mean: float,
    balanced_variance: float,
    *,
    alpha: float = 1.0,
    lambda_: float = 1.0,
    kappa: float = 1.0,
    beta: float = 0.1,
    variance_floor: float = 0.04,
    gap_gradient: GapGradient = "both",
    tails: Float[Tensor, "B 2"] | None = None,
    class_weights: Float[Tensor, " C"] | None = None,
) -> AdaptiveLossTerms:
    """Return the stage-2 loss of a batch, by its parts.

    Args:
        fused_logits: (B, C), float.
        audio_logits: (B, C), float.
        visual_logits: (B, C), float.
        labels: (B,), integer, 0 to C - 1.
        posterior: (B,), float, r at the samples' current gaps, in [0, 1]; receives no gradient.
        balanced_mean: m_b of the balanced component, gap units.
        balanced_variance: s_b^2 of the balanced component, squared gap units.
        alpha: extra weight of CE(fused) where balanced, at least 0.
        lambda_: weight of |g|, at least 0.
        kappa: extra weight of |g| where imbalanced, at least 0.
        beta: weight of the KL term, at least 0.
        variance_floor: V, squared gap units, above 0.
        gap_gradient: "both" branches, or the "weaker" alone (the leading one is detached); holds for |g| and for KL.
        tails: (B, 2), float, in [0, 1], P(audio_dominant | g), P(visual_dominant | g), with the signed posterior:
            the KL term is then computed for each tail apart and added, since their joint moments would cancel.
        class_weights: (C,), float, at least 0, of the three cross-entropies, whose means are weighted; None: all alike.

    Raises:
        ValueError: the batch is empty, or a coefficient is out of bounds.

    Source: |g|, balanced pull, re-weighting: paper (aims 1, 2, 3); coefficients and `weaker`, `tails`: ours.
    """
    _require_valid(len(labels), alpha=alpha, lambda_=lambda_, kappa=kappa, beta=beta)
    if not variance_floor > 0:
        raise ValueError(f"expected variance_floor above 0, got {variance_floor}")
    if gap_gradient not in ("both", "weaker"):
        raise ValueError(f"expected gap_gradient 'both' or 'weaker', got {gap_gradient!r}")
    # Finiteness is the loop's to check, term by term, before its optimizer steps.
    weaker = gap_gradient == "weaker"
    gaps = modality_gap(audio_logits, visual_logits, labels, check_finite=False, detach_leader=weaker)
    r = posterior.detach().to(gaps.dtype)
    each = F.cross_entropy(fused_logits, labels, weight=class_weights, reduction="none")
    if class_weights is not None:
        each = each / class_weights[labels].mean()
    fused = (fusion_weight(r, alpha) * each).mean()
    audio = F.cross_entropy(audio_logits, labels, weight=class_weights)
    visual = F.cross_entropy(visual_logits, labels, weight=class_weights)
    gap = (lambda_ * (1 + kappa * r) * gaps.abs()).mean()
    groups = (r,) if tails is None else tails.unbind(dim=1)
    divergences = [
        balanced_divergence(gaps, group, balanced_mean, balanced_variance, variance_floor=variance_floor)
        for group in groups
    ]
    kl = beta * torch.stack(divergences).sum()
    return AdaptiveLossTerms(fused, audio, visual, gap, kl, fused + audio + visual + gap + kl)


def _require_valid(batch_size: int, **coefficients: float) -> None:
    """Raise ValueError for an empty batch or a negative (or NaN) coefficient."""
    if batch_size == 0:
        raise ValueError("expected at least one sample in the batch, got none")
    for name, value in coefficients.items():
        if not value >= 0:
            raise ValueError(f"expected {name.rstrip('_')} of at least 0, got {value}")
