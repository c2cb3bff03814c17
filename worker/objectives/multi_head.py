"""Multi-head training: the unimodal cross-entropies are added to the fused one.

This module must not know how the logits came about.

Shapes: B clips of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F

from worker.objectives.base import Objective, Pass, StepView


def multi_head_pass(step: StepView) -> Pass:
    """Returns the one pass of L = CE(fused) + CE(audio) + CE(visual).

    Args:
        step: the batch.

    Source: paper (stage 1); also the "uniform" baseline of BalanceBenchmark.
    """
    terms = {
        "fused": F.cross_entropy(step.output.fused_logits, step.labels),
        "audio": F.cross_entropy(step.output.audio_logits, step.labels),
        "visual": F.cross_entropy(step.output.visual_logits, step.labels),
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
