"""MLA: multimodal learning with alternating unimodal adaptation (Zhang et al., CVPR 2024, arXiv 2311.10707).

One linear head reads either modality. In each batch, audio first: CE(head(z_m)) goes backward, the head's weight
gradient G becomes G P^T, the optimizer steps. Before that, but for the very first step of a run, P learns the features'
mean r of this modality and batch: k = P r, P <- P - k k^T / (alpha + r^T k), P <- P / ||P||_F, with
alpha = .1^(1 + batch / batches). P begins as the identity. The prediction is a mix of both modalities' logits, by fixed
weights or by w_m ~ exp(-H_m), H_m the entropy of a clip's prediction; evaluation and scoring use the same.

Followed: the official code (ab6c184). Its denominator is alpha + k r^T, a matrix by which it divides element by
element: `projection: official`; recursive least squares has the number above: `rls`, both scaled to norm 1. Repaired:
it keeps the graph of r, and has P of size 512 whatever the features. Its command line mixes by fixed weights unless
told otherwise, the paper by entropy: the default here. BalanceBenchmark adds G P^T to G instead of replacing it: not
followed. Under AdamW the scale of G P^T is divided away again, its direction stays.

Shapes: B clips of a batch, F features of either modality, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worker.contract.errors import TrainingError
from worker.objectives.base import MODALITIES, Adaptable, Gradients, Modality, Objective, Pass, Scalar, Setup, StepView
from worker.objectives.shared_head import share, shared_sizes

Projection = Literal["official", "rls"]
Mixing = Literal["fixed", "dynamic"]


def entropy_weights(
    audio_logits: Float[Tensor, "B C"], visual_logits: Float[Tensor, "B C"]
) -> tuple[Float[Tensor, "B 1"], Float[Tensor, "B 1"]]:
    """Returns each modality's share of each clip's logits; both add up to 1.

    Args:
        audio_logits: (B, C), float.
        visual_logits: (B, C), float.

    Source: Zhang et al. 2024; official code: exp(max H - H_m), normalised, which is softmax(-H).
    """
    logits = torch.stack([audio_logits, visual_logits])
    log_probabilities = logits.log_softmax(dim=2)
    entropies = -(log_probabilities.exp() * log_probabilities).sum(dim=2, keepdim=True)
    audio, visual = (-entropies).softmax(dim=0)
    return audio, visual


def updated_projection(
    projection: Float[Tensor, "F F"], mean_features: Float[Tensor, " F"], alpha: float, variant: Projection
) -> Float[Tensor, "F F"]:
    """Returns P after it has seen features, with Frobenius norm 1.

    Args:
        projection: P before.
        mean_features: r, the mean over the batch.
        alpha: greater than 0.
        variant: see the module.

    Raises:
        TrainingError: the official variant has divided by zero.

    Source: Zhang et al. 2024; official code, or recursive least squares.
    """
    gain = projection @ mean_features
    official = variant == "official"
    denominator = alpha + (torch.outer(gain, mean_features) if official else mean_features @ gain)
    updated = projection - torch.outer(gain, gain) / denominator
    norm: Tensor = torch.linalg.matrix_norm(updated)
    if not bool(torch.isfinite(norm)):
        raise TrainingError(
            "The projection of the shared head's gradients is not finite: choose projection 'rls', which never divides "
            "by zero, or lower the learning rate.",
            code="projection-not-finite",
        )
    return updated / norm


class MixedHead(nn.Module):
    """Fused logits: a mix of the shared head's logits of both modalities."""

    def __init__(self, head: nn.Linear, mixing: Mixing, audio_weight: float) -> None:
        """Takes the shared head.

        Args:
            head: from F to C.
            mixing: by `audio_weight` ("fixed") or by entropy ("dynamic").
            audio_weight: 0 to 1.
        """
        super().__init__()
        self.head = head
        self._mixing = mixing
        self._audio_weight = audio_weight

    def weights(
        self, audio_logits: Float[Tensor, "B C"], visual_logits: Float[Tensor, "B C"]
    ) -> tuple[Float[Tensor, "B 1"], Float[Tensor, "B 1"]]:
        """Returns each modality's share of each clip's logits.

        Args:
            audio_logits: (B, C).
            visual_logits: (B, C).

        Source: see `entropy_weights`; fixed weights as the official code's.
        """
        if self._mixing == "dynamic":
            return entropy_weights(audio_logits, visual_logits)
        audio = torch.full_like(audio_logits[:, :1], self._audio_weight)
        return audio, 1 - audio

    def forward(self, audio: Float[Tensor, "B F"], visual: Float[Tensor, "B F"]) -> Float[Tensor, "B C"]:
        """Returns the fused logits.

        Args:
            audio: (B, F), float.
            visual: (B, F), float.

        Source: Zhang et al. 2024.
        """
        audio_logits, visual_logits = self.head(audio), self.head(visual)
        audio_weight, visual_weight = self.weights(audio_logits, visual_logits)
        fused: Tensor = audio_weight * audio_logits + visual_weight * visual_logits
        return fused


class Mla(Objective):
    """Alternating steps of both modalities through one head."""

    trains_heads: ClassVar[bool] = True

    def __init__(self, *, projection: Projection, mixing: Mixing, audio_weight: float) -> None:
        """Takes the fields of the spec by their names there."""
        self._variant: Projection = projection
        self._mixing: Mixing = mixing
        self._audio_weight = audio_weight
        self._fusion: MixedHead | None = None
        self._projection = torch.zeros(0, 0)
        self._num_steps = 0
        self._modality: Modality = "audio"
        self._coefficients: dict[str, Tensor] = {}

    def adapt(self, model: Adaptable) -> None:
        """Puts one head in place of fusion and heads.

        Raises:
            TrainingError: the encoders' feature sizes differ.
        """
        head = nn.Linear(*shared_sizes(model))
        self._fusion = MixedHead(head, self._mixing, self._audio_weight)
        share(model, head, self._fusion)

    def setup(self, setup: Setup) -> None:
        """Begins with a projection that changes nothing."""
        weight = self._head().weight
        self._projection = torch.eye(weight.shape[1], device=weight.device)

    def _head(self) -> nn.Linear:
        """Returns the shared head."""
        assert self._fusion is not None, "adapt comes before all else"
        return self._fusion.head

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields a pass for each modality, each with a step of its own."""
        assert self._fusion is not None
        for modality in MODALITIES:
            output = step.outputs(step.output.features)  # the head has stepped since the last modality's
            logits = {"audio": output.audio_logits, "visual": output.visual_logits}
            loss = step.cross_entropy(logits[modality])
            self._modality, self._coefficients = modality, {}
            if modality == "audio":
                shares = self._fusion.weights(output.audio_logits, output.visual_logits)
                self._coefficients = {f"{m}_weight": s.mean() for m, s in zip(MODALITIES, shares, strict=True)}
            yield Pass(loss, {modality: loss}, coefficients=self._coefficients)

    def combine(self, step: StepView, gradients: Sequence[Gradients]) -> Gradients:
        """Returns the gradients, that of the head's weight projected."""
        found = super().combine(step, gradients)
        weight = cast(nn.Parameter, self._head().weight)
        plain = found[weight]
        if self._num_steps > 0:
            mean_features = step.output.features[self._modality].detach().mean(dim=0)
            alpha = 0.1 ** (1 + step.index / step.num_steps)
            projection = self._projection.to(plain.device)
            self._projection = updated_projection(projection, mean_features, alpha, self._variant)
            found[weight] = plain @ self._projection.T
        self._num_steps += 1
        kept = torch.linalg.matrix_norm(found[weight]) / torch.linalg.matrix_norm(plain).clamp_min(1e-12)
        self._coefficients[f"{self._modality}_head_gradient_kept"] = kept
        return found

    def state(self) -> dict[str, Tensor | Scalar]:
        """Returns the projection and the number of steps made."""
        return {"projection": self._projection, "num_steps": self._num_steps}

    def restore(self, saved: Mapping[str, Tensor | Scalar]) -> None:
        """Takes back what `state` gave."""
        self._projection = cast(Tensor, saved["projection"])
        self._num_steps = int(cast(int, saved["num_steps"]))
