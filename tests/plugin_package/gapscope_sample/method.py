"""The training method. Only the worker imports it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from worker.objectives.base import Objective, Pass, StepView


class WeightedHeadsObjective(Objective):
    """One hook of six is enough."""

    trains_heads: ClassVar[bool] = True

    def __init__(self, *, weight: float) -> None:
        self.weight = weight

    def passes(self, step: StepView) -> Iterator[Pass]:
        terms = {
            "fused": step.cross_entropy(step.output.fused_logits),
            "audio": step.cross_entropy(step.output.audio_logits),
            "visual": step.cross_entropy(step.output.visual_logits),
        }
        yield Pass(terms["fused"] + self.weight * (terms["audio"] + terms["visual"]), terms)
