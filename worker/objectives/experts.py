"""Experts mixed by certainty (ours): each modality learns by its own loss alone, the more certain one counts more.

L = CE(audio) + CE(visual). Fused probabilities = sum_m w_m softmax(u_m), w_m = exp(-H_m) / sum exp(-H), H_m the
entropy of modality m's prediction for the clip; fused logits are their logarithm, in training, evaluation and scoring
alike. No loss is put on the mixture, so that no modality can lean on the other, and there is no joint layer to overfit.

Source: ours, of known parts: apart as in the uni-modal ensemble (Du et al., ICML 2023), weights as MLA's at test time
(Zhang et al., CVPR 2024), there of a shared head's logits. Found by looking at what the heads of multi-head runs are
worth without their joint layer: docs/leaderboard.md.

Shapes: B clips, A / V features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worker.objectives.base import MODALITIES, Adaptable, Objective, Pass, StepView


def certainty_weights(audio_logits: Float[Tensor, "B C"], visual_logits: Float[Tensor, "B C"]) -> Float[Tensor, "B 2"]:
    """Returns what the predictions of audio and visual count: exp(-entropy), scaled to a sum of 1.

    Args:
        audio_logits: (B, C), float.
        visual_logits: (B, C), float.

    Source: Zhang et al. 2024 (MLA, dynamic mixing).
    """
    stacked = torch.stack([audio_logits, visual_logits], dim=1).log_softmax(dim=2)
    negative_entropy = (stacked.exp() * stacked).sum(dim=2)
    return negative_entropy.softmax(dim=1)


class CertaintyMixture(nn.Module):
    """A fusion without weights of its own: the heads' probabilities, mixed by how certain each is."""

    def __init__(self, heads: nn.ModuleDict) -> None:
        """Takes the model's heads; both names share their weights."""
        super().__init__()
        self.heads = heads

    def forward(self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]) -> Float[Tensor, "B C"]:
        """Returns the logarithm of the mixed probabilities.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Source: ours.
        """
        logits = torch.stack([self.heads["audio"](audio), self.heads["visual"](visual)], dim=1)
        weights = certainty_weights(logits[:, 0], logits[:, 1])
        # In logarithms: a probability that underflows stays finite.
        return (logits.log_softmax(dim=2) + weights.log()[:, :, None]).logsumexp(dim=1)


class Experts(Objective):
    """Trains each modality as if the other were not there."""

    trains_heads: ClassVar[bool] = True

    def adapt(self, model: Adaptable) -> None:
        """Puts the mixture of the heads in the place of the fusion."""
        model.fusion = CertaintyMixture(model.heads)

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass of both unimodal losses, with what each modality counts."""
        audio, visual = step.output.audio_logits, step.output.visual_logits
        terms = {"audio": step.cross_entropy(audio), "visual": step.cross_entropy(visual)}
        weights = certainty_weights(audio.detach(), visual.detach()).mean(dim=0)
        shares = {f"{name}_weight": weights[row] for row, name in enumerate(MODALITIES)}
        yield Pass(terms["audio"] + terms["visual"], terms, coefficients=shares)
