"""Specs of the methods that scale or combine gradients: OGM, OGM-GE, AGM, InfoReg, ARL, MMPareto."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from worker.contract.spec.base import MisfitError
from worker.contract.spec.model import EncoderSpec
from worker.contract.spec.objectives.base import ObjectiveSpec, WindowedSpec

_UNDER_ADAM = (
    "AdamW divides a lasting scale of the gradient away again, so that little of this is left under it: use SGD."
)


class _Modulation(WindowedSpec):
    """What OGM and OGM-GE share."""

    needs_splitting_fusion: ClassVar[bool] = True
    acts_on_encoders: ClassVar[bool] = True

    alpha: float = Field(
        0.3,
        gt=0.0,
        le=10.0,
        description="How strongly the leading encoder is slowed: its gradients are multiplied by 1 - tanh(alpha rho), "
        "rho > 1 the ratio of both modalities' scores. Without unit.",
    )
    tensors: Literal["conv", "weights"] = Field(
        "weights",
        description="Which tensors of the encoders are modulated. conv: convolutions alone, as the official code, "
        "which changes nothing in a linear or Transformer encoder. weights: every tensor of two or more dimensions "
        "(biases and norms excepted), as BalanceBenchmark; the same as conv where an encoder is all convolutions.",
    )

    def check_encoder(self, encoder: EncoderSpec) -> None:
        """Returns nothing where the encoders have tensors to modulate.

        Args:
            encoder: of the run.

        Raises:
            ValueError: they have none.
        """
        super().check_encoder(encoder)
        if self.tensors == "conv" and encoder.reads == "features":
            raise MisfitError(
                "objective.tensors",
                f"the encoder {encoder.kind!r} has no convolution whose gradient could be modulated: set tensors to "
                "weights, or choose an encoder that reads clips",
            )


class Ogm(_Modulation):
    """On-the-fly gradient modulation, CVPR 2022, without its noise."""

    kind: Literal["ogm"] = "ogm"
    title: ClassVar[str] = "OGM"
    summary: ClassVar[str] = (
        "Slows the encoder of the modality that is more confident on the batch, by scaling its gradients down. "
        + _UNDER_ADAM
    )
    implementation: ClassVar[str] = "worker.objectives.ogm:Ogm"


class OgmGe(_Modulation):
    """On-the-fly gradient modulation with generalisation enhancement, CVPR 2022."""

    kind: Literal["ogm-ge"] = "ogm-ge"
    title: ClassVar[str] = "OGM-GE"
    summary: ClassVar[str] = (
        "OGM, and Gaussian noise as large as the gradients themselves in both encoders, which is meant to help "
        "generalisation. AdamW divides the scaling away again, not the noise: use SGD."
    )
    implementation: ClassVar[str] = "worker.objectives.ogm:OgmGe"


class Agm(WindowedSpec):
    """Adaptive gradient modulation, ICCV 2023."""

    kind: Literal["agm"] = "agm"
    title: ClassVar[str] = "AGM"
    summary: ClassVar[str] = (
        "Splits the fused logits into each modality's Shapley share and scales the gradient of a share down where its "
        "lead is larger than it was so far, up where it is smaller; works with any fusion. " + _UNDER_ADAM
    )
    implementation: ClassVar[str] = "worker.objectives.agm:Agm"

    alpha: float = Field(1.0, gt=0.0, le=5.0, description="How strongly a share's gradient is scaled. Without unit.")
    clip_norm: float = Field(
        1.0,
        gt=0.0,
        le=1_000.0,
        description="Norm to which all gradients together are shortened in a step in which some gradient of the "
        "fusion's weights is larger than 1.",
    )


class MmPareto(WindowedSpec):
    """MMPareto, ICML 2024."""

    kind: Literal["mmpareto"] = "mmpareto"
    title: ClassVar[str] = "MMPareto"
    summary: ClassVar[str] = (
        "Computes the gradients of the fused and of each modality's own loss apart; where they pull apart, the "
        "encoder takes the direction that harms neither, at the length of their sum. Encoders go backward twice. "
        "Of the factor gamma little is left under AdamW, the direction stays."
    )
    implementation: ClassVar[str] = "worker.objectives.mmpareto:MmPareto"
    acts_on_encoders: ClassVar[bool] = True
    extends: ClassVar[str] = "multi-head"

    gamma: float = Field(1.5, ge=1.0, le=10.0, description="Factor on the encoders' combined gradients.")


class InfoReg(WindowedSpec):
    """Adaptive unimodal regulation, CVPR 2025."""

    kind: Literal["inforeg"] = "inforeg"
    title: ClassVar[str] = "InfoReg"
    summary: ClassVar[str] = (
        "While an encoder still takes in much (its squared gradients grow), pulls it back to its weights of the "
        "epoch's start in the batches in which it leads. Checkpoints hold both encoders twice. AdamW divides a "
        "lasting pull by its own size: use SGD."
    )
    implementation: ClassVar[str] = "worker.objectives.inforeg:InfoReg"
    acts_on_encoders: ClassVar[bool] = True
    extends: ClassVar[str] = "multi-head"

    audio_strength: float = Field(
        0.95, ge=0.0, le=100.0, description="Strength of the pull on the audio encoder where it leads."
    )
    visual_strength: float = Field(
        0.1,
        ge=0.0,
        le=100.0,
        description="Strength of the pull on the visual encoder where it leads. The official code hard-codes .95 for "
        "audio and .1 for visual, chosen for its data: set both alike to treat the modalities alike.",
    )
    threshold: float = Field(
        0.05,
        ge=-100.0,
        le=1.0,
        description="Growth of the trace of squared gradients, as a share of it, above which an encoder is pulled.",
    )
    window_epochs: int = Field(10, ge=1, le=1_000, description="Epochs over which the trace is averaged.")


class Arl(WindowedSpec):
    """Asymmetric representation learning, ICCV 2025."""

    kind: Literal["arl"] = "arl"
    title: ClassVar[str] = "ARL"
    summary: ClassVar[str] = (
        "Adds the loss of the fused prediction with one modality absent, and scales the gradients of each modality's "
        "features by 1 plus a weight that is larger for the modality that contributes less to the prediction than its "
        "certainty deserves. " + _UNDER_ADAM
    )
    implementation: ClassVar[str] = "worker.objectives.arl:Arl"
    acts_on_encoders: ClassVar[bool] = True

    gamma: float = Field(1.0, ge=0.0, le=100.0, description="Weight of the unimodal losses once the weights act.")
    temperature: float = Field(8.0, ge=0.0, le=100.0, description="How far apart the two weights are drawn (T).")
    warm_up_epochs: int = Field(
        6,
        ge=0,
        le=10_000,
        description="Epochs, from the first in which the method acts, with gamma 1 and unscaled gradients.",
    )
    clip_norm: float = Field(40.0, gt=0.0, le=1e6, description="Largest norm of all gradients of a step together.")

    def check_epochs(self, epochs: int) -> None:
        """Returns nothing where an epoch of the window comes after the warm-up.

        Args:
            epochs: of the run.

        Raises:
            ValueError: none does, so that no gradient would ever be scaled.
        """
        super().check_epochs(epochs)
        first, last = self.first_epoch + self.warm_up_epochs, min(self.last_epoch or epochs, epochs)
        if first > last:
            raise MisfitError(
                "objective.warm_up_epochs",
                f"the weights of 'arl' act from epoch {first} (first_epoch {self.first_epoch} and warm_up_epochs "
                f"{self.warm_up_epochs}), its last epoch is {last}: lower warm_up_epochs or raise epochs",
            )


SPECS: tuple[type[ObjectiveSpec], ...] = (Ogm, OgmGe, Agm, MmPareto, InfoReg, Arl)
