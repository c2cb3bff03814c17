"""CML: the confidence must not rise when a modality is removed.

Ma et al., "Calibrating Multimodal Learning", ICML 2023. L = CE(f) + lambda sum_i max(0, conf_i(S) - conf_i(T)) sign_i;
conf is the largest class probability, T both modalities, S one of them: for each sample a random one is removed. The
sign is 0 where T is right and S wrong, as in the official code. Followed is that code: the ReLU for each sample, summed
over the batch, so lambda's effect grows with the batch. BalanceBenchmark takes the ReLU of the batch's sum, leaves the
sign unused and adds the cross-entropy of the reduced logits; none of this is followed. Absent means zeroed features: a
concatenation keeps its full bias, as in both codes.

Shapes: B clips, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worker.objectives.base import MODALITIES, Objective, Pass, StepView
from worker.objectives.window import Window


def confidence_rises(
    whole: Float[Tensor, "B C"], reduced: Float[Tensor, "B C"], labels: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """Returns by how much each sample's confidence rises when a modality is removed, at least 0, with gradient.

    Args:
        whole: (B, C), float, fused logits of both modalities.
        reduced: (B, C), float, fused logits with one removed.
        labels: (B,), integer, true classes.

    Source: Ma et al. 2023; the exception (both right to wrong) by the official code.
    """
    rises = reduced.softmax(dim=1).amax(dim=1) - whole.softmax(dim=1).amax(dim=1)
    excepted = (whole.argmax(dim=1) == labels) & (reduced.argmax(dim=1) != labels)
    return rises.relu() * ~excepted


def _share(which: Bool[Tensor, " B"], among: Bool[Tensor, " B"]) -> Tensor:
    """Returns the share of `which` in `among`; 0 where that is empty."""
    return (which & among).sum() / among.sum().clamp(min=1)


class Cml(Objective):
    """Joint training with a penalty on rising confidence."""

    def __init__(self, *, first_epoch: int, last_epoch: int | None, strength: float) -> None:
        """Takes the coefficients of the spec by their names there."""
        self._window = Window(first_epoch, last_epoch)
        self._strength = strength

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass, and reports how often the removal of each modality raised the confidence."""
        if not self._window.holds(step.epoch):
            yield from super().passes(step)
            return
        features, device = step.output.features, step.labels.device
        drops_audio = (torch.rand(len(step.labels), generator=step.generator) < 0.5).to(device)
        kept: dict[str, Tensor] = {"audio": ~drops_audio, "visual": drops_audio}
        reduced = step.outputs({name: values * kept[name][:, None] for name, values in features.items()})
        fused = step.cross_entropy(step.output.fused_logits)
        rises = confidence_rises(step.output.fused_logits, reduced.fused_logits, step.labels)
        terms = {"fused": fused, "calibration": rises.sum()}
        yield Pass(
            fused + self._strength * terms["calibration"],
            terms,
            coefficients={f"{name}_removal_rises": _share(rises > 0, ~kept[name]) for name in MODALITIES},
        )
