"""G2D: two frozen unimodal teachers are distilled, and the encoder whose teacher is ahead rests at first.

Rakib & Bagavathi, "G2D: Boosting Multimodal Learning with Gradient-Guided Distillation", ICCV 2025.
L = w0 CE(f) + sum_m [w1 T^2 KL(p_T(teacher_m) || p_T(f)) + w2 MSE(z_m, z_m of teacher m)]. In the first epochs the
modality whose teacher has the larger mean true-class probability on the batch gets no gradient in its encoder. The
official code is followed, but for three things: it zeroes the gradients of convolutions alone and lets momentum and
weight decay move them on, here the whole encoder stands still; equal teachers are an error there, here none rests; its
epochs are 150 of 300, here half of the run by default. The weights' defaults are ours.

Shapes: B clips, C classes, D features of a modality.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worker.objectives.base import MODALITIES, Gradients, Modality, Objective, Pass, Setup, StepView
from worker.objectives.teachers import require_teachers, teacher_features, teacher_logits
from worker.science.gap import true_class_probability


def distillation(logits: Float[Tensor, "B C"], teacher: Float[Tensor, "B C"], temperature: float) -> Float[Tensor, ""]:
    """Returns T^2 KL(softmax(teacher / T) || softmax(logits / T)), batch mean, nats.

    Args:
        logits: (B, C), float, of the taught model.
        teacher: (B, C), float.
        temperature: T, above 0.

    Source: Hinton et al. 2015, as in the official code of G2D.
    """
    taught, given = (each.div(temperature).log_softmax(dim=1) for each in (logits, teacher))
    return temperature**2 * F.kl_div(taught, given, reduction="batchmean", log_target=True)


class G2d(Objective):
    """Distillation from unimodal teachers, the weaker modality first."""

    def __init__(
        self,
        *,
        audio_teacher: str,
        visual_teacher: str,
        fused_weight: float,
        logit_weight: float,
        feature_weight: float,
        temperature: float,
        priority_epochs: int | None,
    ) -> None:
        """Takes the fields of the spec by their names there."""
        del audio_teacher, visual_teacher  # they come with each step
        self._weights = (fused_weight, logit_weight, feature_weight)
        self._temperature = temperature
        self._given_priority_epochs = priority_epochs
        self._priority_epochs = 0
        self._encoders: dict[Modality, frozenset[nn.Parameter]] = {}
        self._resting: Modality | None = None

    def setup(self, setup: Setup) -> None:
        """Checks the teachers, and learns which parameters are whose.

        Raises:
            TrainingError: a teacher does not fit.
        """
        require_teachers(setup)
        given = self._given_priority_epochs
        self._priority_epochs = setup.epochs // 2 if given is None else given
        self._encoders = {name: frozenset(setup.branches[name]) for name in MODALITIES}

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass, and reports the teachers' scores and which encoder may move."""
        scores = {name: true_class_probability(teacher_logits(step, name), step.labels).mean() for name in MODALITIES}
        self._resting = self._ahead(scores) if step.epoch <= self._priority_epochs else None
        fused = step.output.fused_logits
        terms = {"fused": step.cross_entropy(fused)}
        for name in MODALITIES:
            terms[f"{name}_logits"] = distillation(fused, teacher_logits(step, name), self._temperature)
            terms[f"{name}_features"] = F.mse_loss(step.output.features[name], teacher_features(step, name))
        own, logits, features = self._weights
        total = own * terms["fused"]
        for name in MODALITIES:
            total = total + logits * terms[f"{name}_logits"] + features * terms[f"{name}_features"]
        yield Pass(
            total,
            terms,
            coefficients={
                **{f"{name}_teacher_score": scores[name] for name in MODALITIES},
                **{f"{name}_scale": torch.tensor(float(self._resting != name)) for name in MODALITIES},
            },
        )

    @staticmethod
    def _ahead(scores: dict[Modality, Tensor]) -> Modality | None:
        """Returns the modality whose teacher scores higher; None where they are even."""
        lead = float(scores["audio"] - scores["visual"])
        return None if lead == 0 else "audio" if lead > 0 else "visual"

    def combine(self, step: StepView, gradients: Sequence[Gradients]) -> Gradients:
        """Returns the gradients without those of the encoder that rests, so that nothing moves it."""
        total = super().combine(step, gradients)
        if self._resting is None:
            return total
        other: Modality = "visual" if self._resting == "audio" else "audio"
        resting = self._encoders[self._resting] - self._encoders[other]
        return {parameter: gradient for parameter, gradient in total.items() if parameter not in resting}
