"""LFM: classification and alignment of both predictions, in a mixture that changes with the epochs.

"Facilitating Multimodal Classification via Dynamically Learning Modality Gap", NeurIPS 2024. Fused logits are the mean
of the two heads' logits, f = (u_audio + u_visual) / 2, as in the official code, in evaluation and scoring too.
L = 2 (a0 CE(f) + a1 JS'(p_audio, p_visual)), a0 + a1 = 1, JS' = KL(m || p_audio) / 2 + KL(m || p_visual) / 2 with
m = (p_audio + p_visual) / 2: the official code's form, whose arguments stand the other way round than in the
Jensen-Shannon divergence. The authors learn a1 by a second-order step on held-out training samples (its Hessian term is
the mean over the first parameter tensor alone), or fit a0 as a polynomial of the epoch (0.2046 in the first): here a1
moves linearly from the first epoch to the last, the scheduled variant. BalanceBenchmark learns on validation samples,
a leak that is not followed.

Shapes: B clips, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worker.objectives.base import Adaptable, Objective, Pass, Setup, StepView
from worker.objectives.late_average import MeanOfHeads


def alignment_weight(epoch: int, epochs: int, first: float, last: float) -> float:
    """Returns a1 of an epoch, linear from `first` in epoch 1 to `last` in the last.

    Args:
        epoch: from 1.
        epochs: of the run.
        first: 0 to 1.
        last: 0 to 1.

    Source: ours; the authors' fitted variant is a polynomial of the epoch.
    """
    return first + (last - first) * (epoch - 1) / max(epochs - 1, 1)


def prediction_gap(audio_logits: Float[Tensor, "B C"], visual_logits: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
    """Returns JS' of both predictions, nats, batch mean, with gradient to both.

    Args:
        audio_logits: (B, C), float.
        visual_logits: (B, C), float.

    Source: the official code of LFM.
    """
    audio, visual = audio_logits.log_softmax(dim=1), visual_logits.log_softmax(dim=1)
    middle = torch.logaddexp(audio, visual) - torch.log(torch.tensor(2.0, device=audio.device))
    both = [F.kl_div(each, middle, reduction="batchmean", log_target=True) for each in (audio, visual)]
    return (both[0] + both[1]) / 2


class Lfm(Objective):
    """Scheduled mixture of classification and alignment."""

    trains_heads: ClassVar[bool] = True

    def __init__(self, *, first_alignment: float, last_alignment: float) -> None:
        """Takes the coefficients of the spec by their names there."""
        self._ends = (first_alignment, last_alignment)
        self._epochs = 1

    def adapt(self, model: Adaptable) -> None:
        """Puts the mean of the heads in the place of the fusion."""
        model.fusion = MeanOfHeads(model.heads)

    def setup(self, setup: Setup) -> None:
        """Learns the length of the run."""
        self._epochs = setup.epochs

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass, and reports a1 and the gap between the predictions."""
        weight = alignment_weight(step.epoch, self._epochs, *self._ends)
        fused = step.cross_entropy(step.output.fused_logits)
        gap = prediction_gap(step.output.audio_logits, step.output.visual_logits)
        yield Pass(
            2 * ((1 - weight) * fused + weight * gap),
            {"fused": fused, "alignment": gap},
            coefficients={"alignment_weight": torch.tensor(weight), "prediction_gap": gap.detach()},
        )
