"""ReconBoost: boosting of modalities (Hua et al., ICML 2024).

One head reads either modality, u_m = head(z_m), and the fused logits are rate * (u_audio + u_visual). A stage trains
one modality m (audio first) for some epochs on

    L = mean_i (w1 - w2 q_i) CE_i(u_m) / C  +  alpha * mean (p_m - p_other)^2,    q_i = softmax(rate * u_other)_i[y_i]

so that clips which the other modality predicts already weigh less; nothing flows into the other. Then all is trained on
CE(fused) for some epochs (rectification), and the next stage trains the other modality. The optimizer begins anew in
both. In the first stage there is no other modality yet: q_i = 1 / C and no agreement term.

Followed: the official code (14ab57a), 1 / C (its mean over classes) included. Repaired: its agreement term detaches
both arguments and so has no gradient, here p_other alone is detached (BalanceBenchmark has the same fault); in the
first stage it takes the softmax of a single constant, thus q_i = 1, here the constant stands for each class. The loss
has no lower bound unless w1 > w2, which the spec demands. One stage of theirs is 4 + 4 epochs at a constant learning
rate with SGD; under AdamW the size of the boosting loss is divided away.

Shapes: B clips of a batch, F features of either modality, D hidden features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worker.objectives.base import (
    MODALITIES,
    Adaptable,
    EpochPlan,
    EpochView,
    Modality,
    Objective,
    Pass,
    Scalar,
    StepView,
)
from worker.objectives.shared_head import share, shared_sizes

Phase = Literal["audio", "visual", "rectification"]


def phase_of(epoch: int, stage_epochs: int, rectify_epochs: int) -> tuple[int, Phase, bool]:
    """Returns the stage (from 0), what is trained, and whether that begins with this epoch.

    Args:
        epoch: from 1.
        stage_epochs: at least 1.
        rectify_epochs: at least 0.

    Source: Hua et al. 2024; official code's fixed schedule.
    """
    stage, position = divmod(epoch - 1, stage_epochs + rectify_epochs)
    if position < stage_epochs:
        return stage, MODALITIES[stage % 2], position == 0
    return stage, "rectification", position == stage_epochs


def residual_weights(
    other_posteriors: Float[Tensor, " B"], own_weight: float, residual_weight: float, num_classes: int
) -> Float[Tensor, " B"]:
    """Returns each clip's weight on the cross-entropy of the modality in turn.

    Args:
        other_posteriors: (B,) q, the others' probability of the true class, 0 to 1.
        own_weight: w1.
        residual_weight: w2, below w1.
        num_classes: C.

    Source: Hua et al. 2024; official code.
    """
    return (own_weight - residual_weight * other_posteriors.detach()) / num_classes


class SummedHead(nn.Module):
    """Fused logits rate * (head(z_audio) + head(z_visual))."""

    def __init__(self, head: nn.Module, rate: float) -> None:
        """Takes the shared head.

        Args:
            head: from F to C.
            rate: first value of the learnt rate.
        """
        super().__init__()
        self.head = head
        self.rate = nn.Parameter(torch.tensor(rate))

    def split(
        self, audio: Float[Tensor, "B F"], visual: Float[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        """Returns the audio and the visual part of the fused logits: they add up to them.

        Args:
            audio: (B, F), float.
            visual: (B, F), float.

        Source: Hua et al. 2024.
        """
        return self.rate * self.head(audio), self.rate * self.head(visual)

    def forward(self, audio: Float[Tensor, "B F"], visual: Float[Tensor, "B F"]) -> Float[Tensor, "B C"]:
        """Returns the fused logits.

        Args:
            audio: (B, F), float.
            visual: (B, F), float.

        Source: Hua et al. 2024; official code's DynamicNet.
        """
        audio_part, visual_part = self.split(audio, visual)
        return audio_part + visual_part


class ReconBoost(Objective):
    """Stages over the modalities, each followed by training both."""

    trains_heads: ClassVar[bool] = True

    def __init__(
        self,
        *,
        own_weight: float,
        residual_weight: float,
        agreement: float,
        rate: float,
        stage_epochs: int,
        rectify_epochs: int,
        num_hidden: int,
    ) -> None:
        """Takes the fields of the spec by their names there."""
        self._own_weight, self._residual_weight, self._agreement = own_weight, residual_weight, agreement
        self._stage_epochs, self._rectify_epochs = stage_epochs, rectify_epochs
        self._rate, self._num_hidden = rate, num_hidden
        self._fusion: SummedHead | None = None

    def adapt(self, model: Adaptable) -> None:
        """Puts one head in place of fusion and heads.

        Raises:
            TrainingError: the encoders' feature sizes differ.
        """
        num_features, num_classes = shared_sizes(model)
        hidden, out = nn.Linear(num_features, self._num_hidden), nn.Linear(self._num_hidden, num_classes)
        head = nn.Sequential(hidden, nn.ReLU(), out)
        self._fusion = SummedHead(head, self._rate)
        share(model, head, self._fusion)

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Chooses what is trained: one modality alone, or both."""
        assert self._fusion is not None, "adapt comes before all else"
        stage, phase, begins = phase_of(view.epoch, self._stage_epochs, self._rectify_epochs)
        method: dict[str, Scalar] = {
            "boosting_stage": stage + 1,
            "in_turn": phase,
            "rate": float(self._fusion.rate.detach()),
        }
        return EpochPlan("single", view.rows, method, fresh_optimizer=begins)

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass, of the phase that the epoch belongs to; which one follows from the epoch alone."""
        stage, phase, _ = phase_of(step.epoch, self._stage_epochs, self._rectify_epochs)
        if phase == "rectification":
            fused = step.cross_entropy(step.output.fused_logits)
            yield Pass(fused, {"fused": fused})
            return
        yield self._boosting_pass(step, phase, first=stage == 0)

    def _boosting_pass(self, step: StepView, modality: Modality, *, first: bool) -> Pass:
        """Returns the pass of a modality in turn."""
        assert self._fusion is not None
        logits = {"audio": step.output.audio_logits, "visual": step.output.visual_logits}
        own = logits.pop(modality)
        (other,) = logits.values()
        joined = torch.zeros_like(other) if first else self._fusion.rate.detach() * other.detach()
        posteriors = joined.softmax(dim=1).gather(1, step.labels[:, None])[:, 0]
        weights = residual_weights(posteriors, self._own_weight, self._residual_weight, own.shape[1])
        terms: dict[str, Tensor] = {modality: (weights * step.cross_entropies(own)).mean()}
        if not first:
            difference = own.softmax(dim=1) - other.detach().softmax(dim=1)
            terms["agreement"] = self._agreement * difference.square().mean()
        loss = torch.stack(list(terms.values())).sum()
        return Pass(loss, terms, coefficients={"residual_weight": weights.mean()})
