"""AMCo, adaptive mask co-optimization: masks class logits of the modality on which the prediction depends.

Zhou et al., "Adaptive Mask Co-Optimization for Modal Dependence in Multimodal Learning", ICASSP 2023. The paper's
formulas were not at hand: this follows BalanceBenchmark's code, with its faults mended as said here. There the mask had
two rows, which fits two GPUs alone: here each sample draws its own classes. Its own class may be among them, as there.

u_m are the parts of the concatenated linear layer; fused logits = W (u_audio + u_visual) + b by another linear layer,
in training and afterwards. L = CE(fused) + CE(u_audio) + CE(u_visual). Outside its window nothing is masked.

Shapes: B clips, C classes, A / V features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worker.contract.errors import TrainingError
from worker.objectives.base import MODALITIES, Adaptable, EpochPlan, EpochView, Objective, Pass, Scalar, StepView
from worker.objectives.window import Window


def dependence(audio_logits: Float[Tensor, "B C"], visual_logits: Float[Tensor, "B C"]) -> Float[Tensor, " 2"]:
    """Returns the shares of audio and visual in the softmax over both parts' logits side by side, batch means.

    Args:
        audio_logits: (B, C), float.
        visual_logits: (B, C), float.

    Source: BalanceBenchmark's code.
    """
    mass = torch.cat([audio_logits, visual_logits], dim=1).softmax(dim=1)
    audio = mass[:, : audio_logits.shape[1]].sum(dim=1).mean()
    return torch.stack([audio, 1 - audio])


def masked_share(progress: float, epsilon: float) -> float:
    """Returns the share of classes that is masked, 0 to 1: sin(pi/2 min(eps, l) / eps).

    Args:
        progress: l, at least 0.
        epsilon: eps, above 0.

    Source: BalanceBenchmark's code.
    """
    return math.sin(math.pi / 2 * min(epsilon, progress) / epsilon)


def class_mask(shape: torch.Size, num_masked: int, generator: torch.Generator) -> Bool[Tensor, "B C"]:
    """Returns which logits stay: all but `num_masked` random classes of each sample.

    Args:
        shape: (B, C).
        num_masked: 0 to C.
        generator: CPU.

    Source: BalanceBenchmark's code, there one mask for all.
    """
    return torch.rand(shape, generator=generator).argsort(dim=1) >= num_masked


class MixedParts(nn.Module):
    """A second linear layer on the sum of the parts of a fusion that splits."""

    def __init__(self, parts: nn.Module, num_classes: int) -> None:
        """Wraps the fusion; random weights come from torch's generator."""
        super().__init__()
        self.parts = parts
        self.mix = nn.Linear(num_classes, num_classes)

    def forward(self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]) -> Float[Tensor, "B C"]:
        """Returns the fused logits.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Source: BalanceBenchmark's code.
        """
        logits: Tensor = self.mix(self.parts(audio, visual))
        return logits

    def split(
        self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        """Returns the audio and the visual part of the fused logits, which add up to them.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Source: ours; the second layer is linear, so each part passes through it, with half of its bias.
        """
        weight, bias = self.mix.weight, self.mix.bias / 2
        first, second = self.parts_of(audio, visual)
        return nn.functional.linear(first, weight, bias), nn.functional.linear(second, weight, bias)

    def parts_of(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """Returns u_audio and u_visual, (B, C) each, before the second layer."""
        found: tuple[Tensor, Tensor] = self.parts.split(audio, visual)  # type: ignore[operator]
        return found


class Amco(Objective):
    """Masks, by the dependence that the batch before showed."""

    def __init__(self, *, first_epoch: int, last_epoch: int | None, sigma: float, epsilon: float) -> None:
        """Takes the coefficients of the spec by their names there."""
        self._window = Window(first_epoch, last_epoch)
        self._sigma, self._epsilon = sigma, epsilon
        self._fusion: MixedParts | None = None
        self._acts = False
        self._progress = 0.0
        self._dependent = (False, False)

    def adapt(self, model: Adaptable) -> None:
        """Puts a second linear layer behind the fusion.

        Raises:
            TrainingError: the fusion does not split.
        """
        linear = getattr(model.fusion, "linear", None)
        if not isinstance(linear, nn.Linear):
            raise TrainingError("The method amco needs the fusion concat: choose it.", code="fusion-unfit")
        model.fusion = self._fusion = MixedParts(model.fusion, linear.out_features)

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Begins the epoch's progress at 0."""
        self._acts, self._progress = self._window.holds(view.epoch), 0.0
        return EpochPlan("single", view.rows)

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass of all three losses; the dependence of this batch decides on the next."""
        fusion, features = cast(MixedParts, self._fusion), step.output.features
        parts = fusion.parts_of(features["audio"], features["visual"])
        share = masked_share(self._progress, self._epsilon) if self._acts else 0.0
        num_masked = int(share * parts[0].shape[1])
        masked = [
            part * class_mask(part.shape, num_masked, step.generator).to(part.device) if self._dependent[row] else part
            for row, part in enumerate(parts)
        ]
        terms = {
            "fused": step.cross_entropy(fusion.mix(masked[0] + masked[1])),
            "audio": step.cross_entropy(masked[0]),
            "visual": step.cross_entropy(masked[1]),
        }
        shares = dependence(parts[0].detach(), parts[1].detach())
        yield Pass(
            terms["fused"] + terms["audio"] + terms["visual"],
            terms,
            coefficients={
                **{f"{name}_dependence": shares[row] for row, name in enumerate(MODALITIES)},
                "masked_share": torch.tensor(share),
            },
        )
        if self._acts:
            self._dependent = (bool(shares[0] > self._sigma), bool(shares[1] > self._sigma))
            # The public code counts epochs from 0.
            self._progress += (step.epoch - 1) / 10

    def state(self) -> dict[str, Tensor | Scalar]:
        """Returns the progress of this epoch and what the last batch depended on."""
        return {
            "acts": self._acts,
            "progress": self._progress,
            "audio_dependent": self._dependent[0],
            "visual_dependent": self._dependent[1],
        }

    def restore(self, saved: Mapping[str, Tensor | Scalar]) -> None:
        """Takes back what `state` gave."""
        self._acts = bool(saved["acts"])
        self._progress = float(cast(float, saved["progress"]))
        self._dependent = (bool(saved["audio_dependent"]), bool(saved["visual_dependent"]))
