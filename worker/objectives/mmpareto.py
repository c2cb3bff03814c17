"""MMPareto: Pareto combination of joint and unimodal gradients (Wei and Hu, ICML 2024).

On encoder m, g_J is the gradient of CE(fused) and g_U that of CE of its own head. Where their cosine is positive they
are weighted equally; else with a_J, a_U = argmin ||a_J g_J + a_U g_U||^2 on the simplex, the direction that harms
neither. Per tensor h = 2 a_J g_J + 2 a_U g_U becomes gamma h max(1, ||g_J + g_U|| / ||h||). Cosine and weights are of
the whole encoder, the lengths of each tensor. Heads and fusion keep the summed gradient.

Followed: the official code (a339db3). Its fourth backward pass, of the summed loss, is left out: on encoder m that
gradient is g_J + g_U. BalanceBenchmark's snapshot accumulates all passes before it copies them, so that both gradients
are the same and nothing is combined: not followed. Under AdamW of gamma little is left.

Shapes: B clips of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worker.objectives.base import MODALITIES, Gradients, Modality, Objective, Pass, Setup, StepView
from worker.objectives.multi_head import multi_head_pass
from worker.objectives.window import Window

LARGEST_WEIGHT = 0.999
"""Of a_J or a_U where the minimum lies at an end: the official code's solver."""


def pareto_weight(joint: Sequence[Tensor], unimodal: Sequence[Tensor]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Returns the weight a_J of the joint gradient (a_U = 1 - a_J), and the cosine of both.

    Args:
        joint: g_J by tensor.
        unimodal: g_U by tensor, the same shapes.

    Returns:
        a_J in [0.001, 0.999], 1/2 where the cosine is positive; the cosine, 0 where one of them is zero.

    Source: Wei and Hu 2024; official code and its min-norm solver for two tasks.
    """
    pairs = list(zip(joint, unimodal, strict=True))
    both = torch.stack([(a * b).sum() for a, b in pairs]).sum()
    joint_square = torch.stack([a.square().sum() for a, _ in pairs]).sum()
    unimodal_square = torch.stack([b.square().sum() for _, b in pairs]).sum()
    tiny = torch.finfo(both.dtype).tiny
    inner = (unimodal_square - both) / (joint_square + unimodal_square - 2 * both).clamp_min(tiny)
    inner = torch.where(both >= unimodal_square, 1 - LARGEST_WEIGHT, inner)
    inner = torch.where(both >= joint_square, LARGEST_WEIGHT, inner)
    cosine = both / (joint_square.sqrt() * unimodal_square.sqrt()).clamp_min(tiny)
    return torch.where(both > 0, 0.5, inner), cosine


def combined(joint: Tensor, unimodal: Tensor, joint_weight: Float[Tensor, ""], gamma: float) -> Tensor:
    """Returns the gradient of one tensor: the weighted sum, at least as long as the plain one, times gamma.

    Args:
        joint: g_J of the tensor.
        unimodal: g_U of it.
        joint_weight: a_J.
        gamma: at least 1.

    Source: Wei and Hu 2024; official code. Where h = 0 it divides by zero, here the result is 0.
    """
    direction = 2 * joint_weight * joint + 2 * (1 - joint_weight) * unimodal
    length, plain = torch.linalg.vector_norm(direction), torch.linalg.vector_norm(joint + unimodal)
    stretch = torch.where(length > 0, plain / length, torch.ones_like(length)).clamp_min(1.0)
    return gamma * stretch * direction


class MmPareto(Objective):
    """Multi-head training with the encoders' gradients combined."""

    trains_heads: ClassVar[bool] = True

    def __init__(self, *, gamma: float, first_epoch: int, last_epoch: int | None) -> None:
        """Takes the fields of the spec by their names there."""
        self._gamma = gamma
        self._window = Window(first_epoch, last_epoch)
        self._encoders: dict[Modality, list[nn.Parameter]] = {}
        self._coefficients: dict[str, Tensor] = {}

    def setup(self, setup: Setup) -> None:
        """Learns which parameters are the encoders'."""
        self._encoders = {modality: list(setup.branches[modality]) for modality in MODALITIES}

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields a pass for each of the three losses; outside the window multi-head's single one."""
        if not self._window.holds(step.epoch):
            yield multi_head_pass(step)
            return
        terms = {
            "fused": step.cross_entropy(step.output.fused_logits),
            "audio": step.cross_entropy(step.output.audio_logits),
            "visual": step.cross_entropy(step.output.visual_logits),
        }
        yield Pass(terms["fused"], {"fused": terms["fused"]}, commit=False, retain_graph=True)
        # The last two share nothing below the features, so the first of them may free its graph.
        yield Pass(terms["audio"], {"audio": terms["audio"]}, commit=False)
        self._coefficients = {}
        yield Pass(terms["visual"], {"visual": terms["visual"]}, coefficients=self._coefficients)

    def combine(self, step: StepView, gradients: Sequence[Gradients]) -> Gradients:
        """Returns the summed gradients, those of the encoders combined."""
        total = super().combine(step, gradients)
        if not self._window.holds(step.epoch):
            return total
        for modality, unimodal in zip(MODALITIES, gradients[1:], strict=True):
            joint = gradients[0]
            both = [p for p in self._encoders[modality] if p in joint and p in unimodal]
            weight, cosine = pareto_weight([joint[p] for p in both], [unimodal[p] for p in both])
            for parameter in both:
                total[parameter] = combined(joint[parameter], unimodal[parameter], weight, self._gamma)
            self._coefficients[f"{modality}_cosine"] = cosine
            self._coefficients[f"{modality}_joint_weight"] = weight
        return total
