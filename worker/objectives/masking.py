"""Masking a modality in the fused loss alone: blindly (modality dropout), or by the mixture of score gaps (ours).

Both train like multi-head; in stage 2 CE(fused) is computed with one modality of some samples zeroed at its features,
while the losses of the single modalities see everything. So masking can slow no branch of its own.

Source: modality dropout: common practice (Neverova et al. 2015, ModDrop); the guidance by the mixture: ours.

Shapes: B clips of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from worker.objectives.base import (
    MODALITIES,
    EpochPlan,
    EpochView,
    Features,
    Objective,
    Pass,
    Scalar,
    Setup,
    StepView,
)
from worker.objectives.mixture_state import restored_mixture, saved_mixture
from worker.objectives.multi_head import multi_head_pass
from worker.science.mixture import MixtureParameters
from worker.science.posterior import tail_posteriors_tensor
from worker.science.stages import num_warm_up_epochs


def drawn_masks(probabilities: Float[Tensor, "B 2"], draws: Float[Tensor, " B"]) -> Float[Tensor, "B 2"]:
    """Returns what is kept of audio and visual: 1 or 0, never 0 for both.

    Args:
        probabilities: (B, 2), float, of masking audio and of masking visual, their sum at most 1.
        draws: (B,), float, in [0, 1), one a sample: below the first masks audio, below the sum visual.

    Source: ours.
    """
    mask_audio = draws < probabilities[:, 0]
    mask_visual = ~mask_audio & (draws < probabilities.sum(dim=1))
    return 1 - torch.stack([mask_audio, mask_visual], dim=1).to(probabilities)


class Masking(Objective):
    """What both methods share: the stages, the draw and the loss."""

    trains_heads: ClassVar[bool] = True

    def __init__(self, warm_up_epochs: int | None) -> None:
        """Takes the epochs of stage 1; None takes the default rule."""
        self._given_warm_up = warm_up_epochs
        self.warm_up_epochs = 0
        self._masks = False

    def setup(self, setup: Setup) -> None:
        """Fixes the number of warm-up epochs."""
        self.warm_up_epochs = num_warm_up_epochs(setup.epochs, self._given_warm_up)

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Chooses the stage."""
        self._masks = view.epoch > self.warm_up_epochs
        return EpochPlan("adaptive" if self._masks else "warm-up", view.rows)

    def mask_probabilities(self, step: StepView) -> Float[Tensor, "B 2"]:
        """Returns the probabilities of masking audio and visual of each sample."""
        raise NotImplementedError

    def joint_logits(self, step: StepView, features: Features) -> Float[Tensor, "B C"]:
        """Returns the logits that CE(fused) is computed from: the model's fused logits of the features."""
        if features is step.output.features:
            return step.output.fused_logits
        return step.outputs(features).fused_logits

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields the pass of multi-head, with the fused loss on masked features in stage 2."""
        features: Features = step.output.features
        masked: dict[str, Tensor] = {}
        if self._masks:
            probabilities = self.mask_probabilities(step)
            draws = torch.rand(len(step.labels), generator=step.generator).to(probabilities)
            kept = drawn_masks(probabilities, draws)
            features = {name: step.output.features[name] * kept[:, [row]] for row, name in enumerate(MODALITIES)}
            masked = {f"{name}_masked": 1 - kept[:, row].mean() for row, name in enumerate(MODALITIES)}
        yield replace(multi_head_pass(step, self.joint_logits(step, features)), coefficients=masked)

    def state(self) -> dict[str, Tensor | Scalar]:
        """Returns the stage."""
        return {"masks": self._masks}

    def restore(self, saved: Mapping[str, Tensor | Scalar]) -> None:
        """Takes back what `state` gave."""
        self._masks = bool(saved["masks"])


class ModalityDropout(Masking):
    """Masks a random modality, whatever the sample is like."""

    def __init__(self, *, warm_up_epochs: int | None, probability: float) -> None:
        """Takes the coefficients of the spec by their names there."""
        super().__init__(warm_up_epochs)
        self._probability = probability

    def mask_probabilities(self, step: StepView) -> Float[Tensor, "B 2"]:
        """Returns half of the probability for each modality."""
        return torch.full((len(step.labels), 2), self._probability / 2, device=step.gaps.device)


class GmmMasking(Masking):
    """Masks the dominant modality of a sample, with its probability of belonging to that modality's group."""

    def __init__(self, *, warm_up_epochs: int | None, strength: float, guidance: Literal["posterior", "gap"]) -> None:
        """Takes the coefficients of the spec by their names there."""
        super().__init__(warm_up_epochs)
        self._strength = strength
        self._guidance = guidance
        self._mixture: MixtureParameters | None = None

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Chooses the stage and takes the signed mixture of the last epoch."""
        self._mixture = None if view.mixtures is None else view.mixtures.signed.parameters
        return super().plan_epoch(view)

    def mask_probabilities(self, step: StepView) -> Float[Tensor, "B 2"]:
        """Returns the strength times P(audio_dominant | gap) and P(visual_dominant | gap), or times the gap's size.

        Without a mixture (no epoch before this one, gaps that hardly vary) nothing is masked by the posterior.
        """
        if self._guidance == "gap":
            return self._strength * torch.stack([step.gaps.relu(), (-step.gaps).relu()], dim=1)
        if self._mixture is None:
            return torch.zeros(len(step.labels), 2, device=step.gaps.device)
        return self._strength * tail_posteriors_tensor(step.gaps, self._mixture)

    def state(self) -> dict[str, Tensor | Scalar]:
        """Returns the stage and the mixture."""
        return {**super().state(), **saved_mixture(self._mixture)}

    def restore(self, saved: Mapping[str, Tensor | Scalar]) -> None:
        """Takes back what `state` gave."""
        super().restore(saved)
        self._mixture = restored_mixture(saved)
