"""AGM: adaptive gradient modulation (Li et al., ICCV 2023).

The fused logits f are split into Shapley shares, phi_audio = (f - f(no audio) + f(no visual)) / 2 and phi_visual
likewise, which add up to f. s_m is the mean cross-entropy of phi_m, S_m its running mean before this step. With
r_audio = exp(s_visual - s_audio), R_audio = exp(S_visual - S_audio) the gradient of phi_m is multiplied by
k_m = exp(alpha min(R_m - r_m, 10)): a share whose lead is larger than usual is slowed. An encoder's own gradient is not
simply k_m times as large: the ablated logits carry both factors.

Followed: the official code (5a65542), in its sign; BalanceBenchmark's ratio is the inverse, which would speed up the
modality that leads. Other than there absence means zeroed features, not a zeroed input, so no second pass through the
encoders is needed and no running statistic of a normalisation moves. Before the first step S = 0, thus R = 1. Under
AdamW a lasting scale is divided away again.

Shapes: B clips of a batch, C classes, M = 2 modalities: audio, visual.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worker.objectives.base import Gradients, Objective, Pass, Scalar, Setup, StepView
from worker.objectives.gradient_scale import clip_total_norm, scale_gradient
from worker.objectives.window import Window

MAX_DIFFERENCE = 10.0
"""Cap of R - r: Li et al. 2023, official code."""
MAX_SCORE = -math.log(1e-8)
"""Cap of a sample's cross-entropy in s: the official code clamps p at 1e-8."""
LARGE_GRADIENT = 1.0
"""Gradients of the fusion's weights beyond it make the official code clip the step."""


def shapley_logits(
    fused: Float[Tensor, "B C"], without_audio: Float[Tensor, "B C"], without_visual: Float[Tensor, "B C"]
) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
    """Returns the audio and the visual share of the fused logits; they add up to them.

    Args:
        fused: (B, C).
        without_audio: (B, C), the audio features zeroed.
        without_visual: (B, C), the visual features zeroed.

    Source: Li et al. 2023; official code for two modalities (it drops the value of the empty coalition).
    """
    return (fused - without_audio + without_visual) / 2, (fused - without_visual + without_audio) / 2


def share_factors(scores: Float[Tensor, " M"], means: Float[Tensor, " M"], alpha: float) -> Float[Tensor, " M"]:
    """Returns k_audio and k_visual.

    Args:
        scores: s_audio and s_visual of the batch, nats.
        means: S_audio and S_visual, their running means before it.
        alpha: greater than 0.

    Source: Li et al. 2023; official code.
    """
    ratio = torch.exp(scores.flip(0) - scores)
    usual = torch.exp(means.flip(0) - means)
    return torch.exp(alpha * (usual - ratio).clamp(max=MAX_DIFFERENCE))


class Agm(Objective):
    """Joint training whose gradients are scaled at the Shapley shares of the logits."""

    def __init__(self, *, alpha: float, clip_norm: float, first_epoch: int, last_epoch: int | None) -> None:
        """Takes the fields of the spec by their names there."""
        self._alpha, self._clip_norm = alpha, clip_norm
        self._window = Window(first_epoch, last_epoch)
        self._fusion_weights: list[nn.Parameter] = []
        self._means = torch.zeros(2)
        self._num_steps = 0

    def setup(self, setup: Setup) -> None:
        """Finds the weights by whose gradients a step is clipped."""
        self._fusion_weights = [p for p in setup.branches["fusion"] if p.dim() > 1]

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass, on the sum of the scaled shares."""
        if not self._window.holds(step.epoch):
            yield from super().passes(step)
            return
        shares = shapley_logits(
            step.output.fused_logits, step.without("audio").fused_logits, step.without("visual").fused_logits
        )
        scores = torch.stack([step.cross_entropies(s.detach()).clamp(max=MAX_SCORE).mean() for s in shares])
        factors = share_factors(scores, self._means.to(scores), self._alpha)
        self._remember(scores)
        audio, visual = (scale_gradient(share, factor) for share, factor in zip(shares, factors, strict=True))
        fused = step.cross_entropy(audio + visual)
        coefficients = {"audio_factor": factors[0], "visual_factor": factors[1]}
        yield Pass(fused, {"fused": fused}, coefficients=coefficients)

    def _remember(self, scores: Float[Tensor, " M"]) -> None:
        """Takes the batch's scores into the running means."""
        self._num_steps += 1
        means = self._means.to(scores)
        self._means = means + (scores - means) / self._num_steps

    def combine(self, step: StepView, gradients: Sequence[Gradients]) -> Gradients:
        """Returns the gradients, shortened where the fusion's are large."""
        found = super().combine(step, gradients)
        if not self._window.holds(step.epoch):
            return found
        largest = [found[p].abs().max() for p in self._fusion_weights if p in found]
        if largest and bool(torch.stack(largest).max() > LARGE_GRADIENT):
            return clip_total_norm(found, self._clip_norm)
        return found

    def state(self) -> dict[str, Tensor | Scalar]:
        """Returns the running means and the number of steps that they are of."""
        return {"means": self._means, "num_steps": self._num_steps}

    def restore(self, saved: Mapping[str, Tensor | Scalar]) -> None:
        """Takes back what `state` gave."""
        self._means = cast(Tensor, saved["means"])
        self._num_steps = int(cast(int, saved["num_steps"]))
