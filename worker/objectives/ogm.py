"""OGM and OGM-GE: on-the-fly gradient modulation (Peng et al., CVPR 2022, "Balanced Multimodal Learning via ...").

Joint training, in which the encoder of the modality with the larger score s_m on the batch is slowed:
k_m = 1 - tanh(alpha s_m / s_other) where s_m > s_other, else 1; OGM-GE then adds noise of N(0, std(g)) to each tensor g
of both encoders, std taken before the scaling. Note that k jumps to 1 - tanh(alpha) as soon as a modality leads.

Followed: the official code (343dc1d), formulas and order. It modulates 4-D tensors alone and finds encoders by their
names; here the parameters are told by identity, and `tensors` chooses. Its gated and FiLM branches do not run (a shape
error), so a fusion that splits is required. BalanceBenchmark counts correct samples alone and takes cosines of the
logits: not followed. Under AdamW a lasting scale is divided away again; the official code uses SGD with momentum.

Shapes: B clips of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worker.contract.errors import TrainingError
from worker.objectives.base import MODALITIES, Gradients, Modality, Objective, Pass, Setup, StepView
from worker.objectives.scores import SMALLEST_SCORE, true_class_score
from worker.objectives.window import Window

_DIMENSIONS = {"conv": (4,), "weights": tuple(range(2, 9))}


def modulation(
    audio_score: Float[Tensor, ""], visual_score: Float[Tensor, ""], alpha: float
) -> dict[Modality, Float[Tensor, ""]]:
    """Returns the factor k on each encoder's gradients.

    Args:
        audio_score: s_audio, scalar, at least 0.
        visual_score: s_visual, likewise.
        alpha: greater than 0.

    Returns:
        1 for the modality that does not lead (both, at a tie), 1 - tanh(alpha rho) in (0, 1) for the other.

    Source: Peng et al. 2022, as in the official code (which at a tie slows the audio encoder).
    """
    ratio = audio_score.clamp_min(SMALLEST_SCORE) / visual_score.clamp_min(SMALLEST_SCORE)
    return {
        "audio": torch.where(ratio > 1, 1 - torch.tanh(alpha * ratio), torch.ones_like(ratio)),
        "visual": torch.where(ratio < 1, 1 - torch.tanh(alpha / ratio), torch.ones_like(ratio)),
    }


def modulated(gradient: Tensor, factor: Float[Tensor, ""], noise: Tensor | None) -> Tensor:
    """Returns factor * gradient + std(gradient) * noise.

    Args:
        gradient: of one tensor, any shape.
        factor: k, scalar.
        noise: of the gradient's shape, standard normal; None: OGM without GE.

    Source: official code: the deviation is that of the gradient before scaling, plus 1e-8.
    """
    if noise is None:
        return factor * gradient
    deviation = gradient.std() if gradient.numel() > 1 else torch.zeros_like(factor)
    return torch.addcmul(factor * gradient, noise, deviation + 1e-8)


class Ogm(Objective):
    """Joint training with the leading encoder slowed."""

    adds_noise: ClassVar[bool] = False

    def __init__(
        self, *, alpha: float, tensors: Literal["conv", "weights"], first_epoch: int, last_epoch: int | None
    ) -> None:
        """Takes the fields of the spec by their names there."""
        self._alpha = alpha
        self._tensors = tensors
        self._window = Window(first_epoch, last_epoch)
        self._encoders: dict[Modality, list[nn.Parameter]] = {}
        self._factors: dict[Modality, Tensor] = {}

    def setup(self, setup: Setup) -> None:
        """Finds the tensors to modulate.

        Raises:
            TrainingError: an encoder has none.
        """
        dimensions = _DIMENSIONS[self._tensors]
        for modality in MODALITIES:
            found = [p for p in setup.branches[modality] if p.dim() in dimensions]
            if not found:
                raise TrainingError(
                    f"The {modality} encoder has no convolution whose gradient could be modulated (tensors: "
                    f"{self._tensors!r}): set tensors to 'weights', or choose a convolutional encoder.",
                    code="nothing-to-modulate",
                )
            self._encoders[modality] = found

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields joint training's pass, with the factors of this batch."""
        if not self._window.holds(step.epoch):
            yield from super().passes(step)
            return
        audio, visual = (true_class_score(logits, step.labels) for logits in step.output.split_logits)
        self._factors = modulation(audio, visual, self._alpha)
        fused = step.cross_entropy(step.output.fused_logits)
        named = {f"{modality}_factor": factor for modality, factor in self._factors.items()}
        yield Pass(fused, {"fused": fused}, coefficients=named)

    def combine(self, step: StepView, gradients: Sequence[Gradients]) -> Gradients:
        """Returns the gradients with those of the encoders modulated."""
        found = super().combine(step, gradients)
        if not self._window.holds(step.epoch):
            return found
        generator = _noise_generator(step) if self.adds_noise else None
        for modality, parameters in self._encoders.items():
            for parameter in parameters:
                if (gradient := found.get(parameter)) is None:
                    continue
                noise = None
                if generator is not None:
                    noise = torch.randn(gradient.shape, generator=generator, device=gradient.device)
                found[parameter] = modulated(gradient, self._factors[modality], noise)
        return found


class OgmGe(Ogm):
    """OGM with noise on both encoders' gradients."""

    adds_noise: ClassVar[bool] = True


def _noise_generator(step: StepView) -> torch.Generator:
    """Returns a generator on the gradients' device, seeded from the method's own stream: noise is drawn where it goes.

    The stream is what a snapshot keeps, so a resumed run draws the same.
    """
    generator = torch.Generator(device=step.labels.device)
    generator.manual_seed(int(torch.randint(2**62, (1,), generator=step.generator)))
    return generator
