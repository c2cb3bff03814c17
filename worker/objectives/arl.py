"""ARL: multimodal learning via imbalanced learning (Wei et al., ICCV 2025, arXiv 2507.10203).

L = CE(f) + gamma (CE(u_audio) + CE(u_visual)), u_m the fused logits with the other modality absent, and the gradient of
modality m's features is multiplied by 1 + w_m. On each batch: H_m the mean entropy of u_m, as a share of both, at least
.3; v_m proportional to 1 / H_m, adding up to 1; n_m the share of u_m in the mean absolute logits;
(w_audio, w_visual) = softmax(T n_visual v_audio, T n_audio v_visual). So what is sped up is the modality that
contributes less than its certainty deserves, not simply the weaker one. In a warm-up both w_m are 0 and gamma is 1.

Followed: the formula of the official code. Its revisions differ: 358af4f only logs the weights, so that both stay 1/2;
51a9de3 sets them after the forward pass, so that they act on the next batch. Here they act on their own batch. Absence
is zeroed features, as there; so any fusion will do. Gradients are clipped to a norm of 40. Under AdamW a lasting scale
is divided away again.

Shapes: B clips of a batch, C classes, A / V features, M = 2 modalities: audio, visual.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from worker.objectives.base import Features, Gradients, Objective, Pass, StepView
from worker.objectives.gradient_scale import clip_total_norm, scale_gradient
from worker.objectives.window import Window

SMALLEST_ENTROPY_SHARE = 0.3
"""Official code."""
_TINY = 1e-16
"""Official code: keeps the logarithm, and here the shares, finite."""


def feature_weights(
    audio_logits: Float[Tensor, "B C"], visual_logits: Float[Tensor, "B C"], temperature: float
) -> Float[Tensor, " M"]:
    """Returns w_audio and w_visual, without gradient.

    Args:
        audio_logits: (B, C), fused logits without the visual features.
        visual_logits: (B, C), without the audio ones.
        temperature: T, at least 0.

    Returns:
        (2,), adding up to 1.

    Source: ARL's official code.
    """
    logits = torch.stack([audio_logits.detach(), visual_logits.detach()])
    probabilities = logits.softmax(dim=2)
    entropies = -(probabilities * (probabilities + _TINY).log()).sum(dim=2).mean(dim=1)
    shares = (entropies / entropies.sum().clamp_min(_TINY)).clamp(min=SMALLEST_ENTROPY_SHARE)
    certainties = (1 / shares) / (1 / shares).sum()
    masses = logits.abs().mean(dim=1).sum(dim=1)
    contributions = masses / masses.sum().clamp_min(_TINY)
    return (temperature * contributions.flip(0) * certainties).softmax(dim=0)


class Arl(Objective):
    """Joint training with unimodal losses at zeroed features and scaled feature gradients."""

    def __init__(
        self,
        *,
        gamma: float,
        temperature: float,
        warm_up_epochs: int,
        clip_norm: float,
        first_epoch: int,
        last_epoch: int | None,
    ) -> None:
        """Takes the fields of the spec by their names there."""
        self._gamma, self._temperature, self._clip_norm = gamma, temperature, clip_norm
        self._window = Window(first_epoch, last_epoch)
        self._last_warm_up_epoch = first_epoch + warm_up_epochs - 1
        self._weights = torch.zeros(2)

    def features(self, step: StepView, features: Features) -> Features:
        """Returns the same features, whose gradients come back multiplied."""
        if not self._window.holds(step.epoch):
            return features
        self._weights = torch.zeros(2)
        if step.epoch > self._last_warm_up_epoch:
            with torch.no_grad():
                audio, visual = step.without("visual").fused_logits, step.without("audio").fused_logits
            self._weights = feature_weights(audio, visual, self._temperature)
        audio_weight, visual_weight = self._weights
        return {
            "audio": scale_gradient(features["audio"], 1 + audio_weight),
            "visual": scale_gradient(features["visual"], 1 + visual_weight),
        }

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass, of the fused loss and both with a modality absent."""
        if not self._window.holds(step.epoch):
            yield from super().passes(step)
            return
        gamma = self._gamma if step.epoch > self._last_warm_up_epoch else 1.0
        terms = {
            "fused": step.cross_entropy(step.output.fused_logits),
            "audio": gamma * step.cross_entropy(step.without("visual").fused_logits),
            "visual": gamma * step.cross_entropy(step.without("audio").fused_logits),
        }
        coefficients = {"audio_weight": self._weights[0], "visual_weight": self._weights[1]}
        yield Pass(terms["fused"] + terms["audio"] + terms["visual"], terms, coefficients=coefficients)

    def combine(self, step: StepView, gradients: Sequence[Gradients]) -> Gradients:
        """Returns the gradients, shortened where they are long."""
        found = super().combine(step, gradients)
        return clip_total_norm(found, self._clip_norm) if self._window.holds(step.epoch) else found
