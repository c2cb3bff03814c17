"""MBSD: sample by sample, the weaker modality imitates the stronger one.

Named "MBSD" in BalanceBenchmark alone; likely after Liu et al., "Multimodal Pre-Training with Self-Distillation for
Product Understanding in E-Commerce", WSDM 2023, which was not at hand: a doubtful source. From the code:
L = CE(f) + CE(u_audio) + CE(u_visual) + mean_i w_i ||u_audio - u_visual||^2 / C + mean_i w_i KL_i, with
w_i = |p_audio[y] - p_visual[y]| where either modality is right, else 0. Mended here: its divergence is of two single
probabilities with exchanged arguments; this is KL(p_strong || p_weak) over the classes, and neither w nor the stronger
modality gets a gradient from the imitation, which would make it worse. u are the heads' logits; there
parts of the fused ones.

Shapes: B clips, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worker.objectives.base import Objective, Pass, StepView
from worker.objectives.multi_head import multi_head_pass
from worker.objectives.window import Window
from worker.science.gap import true_class_probability


@dataclass(frozen=True, eq=False)
class Imitation:
    """What the weaker modality pays for being unlike the stronger one.

    Attributes:
        distance: scalar, mean of w_i times the squared distance of the logits.
        divergence: scalar, mean of w_i KL(p_strong || p_weak), nats.
        weights: (B,), w_i, without gradient.
        audio_leads: (B,).
    """

    distance: Float[Tensor, ""]
    divergence: Float[Tensor, ""]
    weights: Float[Tensor, " B"]
    audio_leads: Bool[Tensor, " B"]


def imitation(
    audio_logits: Float[Tensor, "B C"], visual_logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"]
) -> Imitation:
    """Returns the imitation terms, with gradient to the weaker modality of each sample alone.

    Args:
        audio_logits: (B, C), float.
        visual_logits: (B, C), float.
        labels: (B,), integer, true classes.

    Source: BalanceBenchmark's code, its divergence and gradients mended.
    """
    with torch.no_grad():
        lead = true_class_probability(audio_logits, labels) - true_class_probability(visual_logits, labels)
        right = (audio_logits.argmax(dim=1) == labels) | (visual_logits.argmax(dim=1) == labels)
        weights = lead.abs() * right
    audio_leads = lead > 0
    strong = torch.where(audio_leads[:, None], audio_logits, visual_logits).detach()
    weak = torch.where(audio_leads[:, None], visual_logits, audio_logits)
    divergence = F.kl_div(weak.log_softmax(dim=1), strong.log_softmax(dim=1), reduction="none", log_target=True).sum(
        dim=1
    )
    distance = (weak - strong).square().mean(dim=1)
    return Imitation((weights * distance).mean(), (weights * divergence).mean(), weights, audio_leads)


class Mbsd(Objective):
    """Multi-head training with imitation."""

    trains_heads: ClassVar[bool] = True

    def __init__(self, *, first_epoch: int, last_epoch: int | None, strength: float) -> None:
        """Takes the coefficients of the spec by their names there."""
        self._window = Window(first_epoch, last_epoch)
        self._strength = strength

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass, and reports the mean weight with which each modality is imitated."""
        plain = multi_head_pass(step)
        if not self._window.holds(step.epoch):
            yield plain
            return
        found = imitation(step.output.audio_logits, step.output.visual_logits, step.labels)
        yield Pass(
            plain.loss + self._strength * (found.distance + found.divergence),
            {**plain.terms, "distance": found.distance, "divergence": found.divergence},
            coefficients={
                "audio_imitated": (found.weights * found.audio_leads).mean(),
                "visual_imitated": (found.weights * ~found.audio_leads).mean(),
            },
        )
