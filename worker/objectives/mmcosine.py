"""MMCosine: logits by cosines, so that no modality leads by the length of its features or of its class weights.

Xu et al., "MMCosine: Multi-Modal Cosine Loss Towards Balanced Audio-Visual Fine-Grained Learning", ICASSP 2023 (arXiv
2303.05338). f_c = s (cos(z_audio, W_c,audio) + cos(z_visual, W_c,visual)), without bias; L = CE(f). Features and class
weights are normalised modality by modality, as in the official code; its contrastive option (off there) is left out.
BalanceBenchmark leaves the cosines outside of a window of epochs in training but never in validation: here the head is
the same always, in scoring too.

Shapes: B clips, A / V features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worker.objectives.base import MODALITIES, Adaptable, EpochPlan, EpochView, Objective, Pass, StepView

SHORTEST = 1e-6
"""Length below which features count as absent: their cosines go to 0, and no gradient grows beyond bounds."""


def cosines(features: Float[Tensor, "B D"], weight: Float[Tensor, "C D"]) -> Float[Tensor, "B C"]:
    """Returns the cosine of each sample with each class; 0 for features that are zero.

    Args:
        features: (B, D), float.
        weight: (C, D), float.

    Source: Xu et al. 2023.
    """
    return F.normalize(features, dim=1, eps=SHORTEST) @ F.normalize(weight, dim=1, eps=SHORTEST).T


class CosineFusion(nn.Module):
    """Class weights of both modalities, read by cosines."""

    def __init__(self, num_audio_features: int, num_visual_features: int, num_classes: int, scale: float) -> None:
        """Builds the weights, random from torch's generator.

        Args:
            num_audio_features: A.
            num_visual_features: V.
            num_classes: C.
            scale: s, above 0.
        """
        super().__init__()
        self.audio = nn.Linear(num_audio_features, num_classes, bias=False)
        self.visual = nn.Linear(num_visual_features, num_classes, bias=False)
        self._scale = scale

    def forward(self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]) -> Float[Tensor, "B C"]:
        """Returns the fused logits.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Source: Xu et al. 2023.
        """
        first, second = self.split(audio, visual)
        return first + second

    def split(
        self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        """Returns the audio and the visual part of the fused logits, s cos each, which add up to them.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Source: Xu et al. 2023.
        """
        return self._scale * cosines(audio, self.audio.weight), self._scale * cosines(visual, self.visual.weight)


class MmCosine(Objective):
    """Joint training on a cosine head; the unimodal heads are probes."""

    def __init__(self, *, scale: float) -> None:
        """Takes the coefficient of the spec by its name there."""
        self._scale = scale

    def adapt(self, model: Adaptable) -> None:
        """Puts the cosine head in the place of the fusion."""
        audio, visual = (cast(nn.Linear, model.heads[name]) for name in MODALITIES)
        model.fusion = CosineFusion(audio.in_features, visual.in_features, audio.out_features, self._scale)

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Reports the scale."""
        return EpochPlan("single", view.rows, {"scale": self._scale})

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass of CE(fused), and reports the mean cosine with the true class by modality."""
        fused = step.cross_entropy(step.output.fused_logits)
        labels = step.labels[:, None]
        parts = dict(zip(MODALITIES, step.output.split_logits, strict=True))
        found = {f"{name}_cosine": u.detach().gather(1, labels).mean() / self._scale for name, u in parts.items()}
        yield Pass(fused, {"fused": fused}, coefficients=found)
