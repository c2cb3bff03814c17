"""Multi-head training: the unimodal cross-entropies are added to the fused one.

This module must not know how the logits came about.

Shapes: B clips of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from worker.objectives.base import Objective, Pass, StepView


def multi_head_pass(step: StepView, fused_logits: Float[Tensor, "B C"] | None = None) -> Pass:
    """Returns the one pass of L = CE(fused) + CE(audio) + CE(visual).

    Args:
        step: the batch.
        fused_logits: (B, C), float, what CE(fused) is of; None: the step's own.

    Source: paper (stage 1); also the "uniform" baseline of BalanceBenchmark.
    """
    terms = {
        "fused": step.cross_entropy(step.output.fused_logits if fused_logits is None else fused_logits),
        "audio": step.cross_entropy(step.output.audio_logits),
        "visual": step.cross_entropy(step.output.visual_logits),
    }
    return Pass(terms["fused"] + terms["audio"] + terms["visual"], terms)


class MultiHead(Objective):
    """A strong baseline; also stage 1 of the adaptive loss."""

    trains_heads: ClassVar[bool] = True

    def __init__(self) -> None:
        """Takes no coefficients."""

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass with all three losses."""
        yield multi_head_pass(step)
