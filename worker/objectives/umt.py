"""UMT, uni-modal teacher: each encoder also learns to give the features of a frozen unimodal model.

Du et al., "On Uni-Modal Feature Learning in Supervised Multi-Modal Learning", ICML 2023. L = CE(f) + scaling
sum_m MSE(z_m, z_m of teacher m). Neither the paper's weight nor official code was at hand: the form and the default of
the scaling are BalanceBenchmark's, whose teachers stay in training mode (their batch statistics move); here they are in
evaluation mode. The squared error is averaged over the features, so its weight falls with their number.

Shapes: B clips, D features of a modality.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F

from worker.objectives.base import MODALITIES, Objective, Pass, Setup, StepView
from worker.objectives.teachers import require_teachers, teacher_features
from worker.objectives.window import Window


class Umt(Objective):
    """Joint training with distilled features."""

    def __init__(
        self, *, first_epoch: int, last_epoch: int | None, audio_teacher: str, visual_teacher: str, scaling: float
    ) -> None:
        """Takes the fields of the spec by their names there."""
        del audio_teacher, visual_teacher  # they come with each step
        self._window = Window(first_epoch, last_epoch)
        self._scaling = scaling

    def setup(self, setup: Setup) -> None:
        """Checks the teachers.

        Raises:
            TrainingError: one does not fit.
        """
        require_teachers(setup)

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass, and reports how far each encoder is from its teacher."""
        if not self._window.holds(step.epoch):
            yield from super().passes(step)
            return
        terms = {"fused": step.cross_entropy(step.output.fused_logits)}
        for modality in MODALITIES:
            terms[f"{modality}_features"] = F.mse_loss(step.output.features[modality], teacher_features(step, modality))
        yield Pass(
            terms["fused"] + self._scaling * (terms["audio_features"] + terms["visual_features"]),
            terms,
            coefficients={f"{name}_distance": terms[f"{name}_features"].detach() for name in MODALITIES},
        )
