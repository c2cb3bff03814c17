"""OPM, on-the-fly prediction modulation: drops the features of the modality that is ahead.

Wei, Hu, Du, Wen, "On-the-fly Modulation for Balanced Multimodal Learning", TPAMI 2024. We follow the authors' code
("BML"). BalanceBenchmark divides the scores in place, so its second modality sees another ratio, and has no warm-up:
not followed. With two modalities only the one that is ahead has a drop rate, so no sample ever loses both. A dropped
modality is absent at the features. Extends joint training.

Shapes: B clips of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
    StepView,
)
from worker.objectives.window import Window
from worker.science.gap import true_class_probability


def drop_rates(
    audio_score: Float[Tensor, ""], visual_score: Float[Tensor, ""], *, base_rate: float, gain: float
) -> Float[Tensor, " 2"]:
    """Returns the drop rates of audio and visual, at most one of them above 0.

    Args:
        audio_score: sum of the batch's softmax scores of the true class by the audio part.
        visual_score: the same by the visual part.
        base_rate: q_base, 0 to 1.
        gain: lambda, at least 0.

    Returns:
        (2,) q_m = min(q_base (1 + lambda rho_m), 1) where rho_m = tanh(max(s_m / s_other - 1, 0)) > 0, else 0.

    Source: Wei et al. 2024, authors' code.
    """
    scores = torch.stack([audio_score, visual_score])
    lead = torch.tanh((scores / scores.flip(0) - 1).relu())
    return torch.where(lead > 0, (base_rate * (1 + gain * lead)).clamp(max=1.0), torch.zeros_like(lead))


class Opm(Objective):
    """Masks before fusion; the loss is that of joint training."""

    def __init__(
        self, *, first_epoch: int, last_epoch: int | None, probability: float, base_rate: float, gain: float
    ) -> None:
        """Takes the coefficients of the spec by their names there."""
        self._window = Window(first_epoch, last_epoch)
        self._probability, self._base_rate, self._gain = probability, base_rate, gain
        self._acts = False
        self._rates = torch.zeros(2)

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Looks whether the epoch lies in the window."""
        self._acts = self._window.holds(view.epoch)
        return EpochPlan("single", view.rows)

    def features(self, step: StepView, features: Features) -> Features:
        """Returns the features, with those of the leading modality zeroed in some samples and all scaled up for it."""
        if not self._acts:
            return features
        with torch.no_grad():
            scores = [true_class_probability(part, step.labels).sum() for part in step.output.split_logits]
        self._rates = drop_rates(*scores, base_rate=self._base_rate, gain=self._gain)
        if float(torch.rand((), generator=step.generator)) >= self._probability:
            return features
        # Both draws always, so that the stream does not depend on who leads.
        draws = torch.rand(2, len(step.labels), generator=step.generator).to(self._rates)
        keep = draws >= self._rates[:, None]
        sizes = torch.tensor([features[name].shape[1] for name in MODALITIES]).to(self._rates)
        kept_share = 1 - (sizes * self._rates).sum() / sizes.sum()
        return {name: features[name] * keep[row, :, None] / kept_share for row, name in enumerate(MODALITIES)}

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields the pass of joint training, with the batch's drop rates."""
        fused = step.cross_entropy(step.output.fused_logits)
        rates = {f"{name}_drop_rate": self._rates[row] for row, name in enumerate(MODALITIES)} if self._acts else {}
        yield Pass(fused, {"fused": fused}, coefficients=rates)

    def state(self) -> dict[str, Tensor | Scalar]:
        """Returns whether it acts in this epoch."""
        return {"acts": self._acts}

    def restore(self, saved: Mapping[str, Tensor | Scalar]) -> None:
        """Takes back what `state` gave."""
        self._acts = bool(saved["acts"])
