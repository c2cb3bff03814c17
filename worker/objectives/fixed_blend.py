"""Fixed blend: the fused and the unimodal cross-entropies with given weights.

L = w_fused CE(fused) + w_audio CE(audio) + w_visual CE(visual). Source: baseline; the loss of Wang, Tran, Feiszli, CVPR
2020, whose G-Blending measures these weights.

Shapes: B clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from worker.objectives.base import EpochPlan, EpochView, Objective, Pass, StepView


def blended_pass(step: StepView, weights: Mapping[str, float]) -> Pass:
    """Returns the one pass of the weighted sum.

    Args:
        step: the batch.
        weights: of "fused", "audio" and "visual", at least 0.

    Source: Wang et al. 2020.
    """
    terms = {
        "fused": step.cross_entropy(step.output.fused_logits),
        "audio": step.cross_entropy(step.output.audio_logits),
        "visual": step.cross_entropy(step.output.visual_logits),
    }
    total = weights["fused"] * terms["fused"] + weights["audio"] * terms["audio"] + weights["visual"] * terms["visual"]
    return Pass(total, terms)


class FixedBlend(Objective):
    """Multi-head training with weights."""

    trains_heads: ClassVar[bool] = True

    def __init__(self, *, fused_weight: float, audio_weight: float, visual_weight: float) -> None:
        """Takes the weights of the spec by their names there."""
        self._weights = {"fused": fused_weight, "audio": audio_weight, "visual": visual_weight}

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Reports the weights."""
        return EpochPlan("single", view.rows, {f"{name}_weight": value for name, value in self._weights.items()})

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass with all three losses."""
        yield blended_pass(step, self._weights)
