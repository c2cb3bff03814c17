"""Specs of the methods that mask features: OPM, modality dropout, AMCo, GMM masking."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from worker.contract.spec.base import MisfitError
from worker.contract.spec.objectives.base import ObjectiveSpec, WindowedSpec

WARM_UP_HELP = "Epochs of stage 1, trained like multi-head; empty: a quarter of all, at least 2."


class _Masking(ObjectiveSpec):
    """What modality dropout and GMM masking share."""

    extends: ClassVar[str] = "multi-head"

    warm_up_epochs: int | None = Field(None, ge=0, le=10_000, description=WARM_UP_HELP)

    def check_epochs(self, epochs: int) -> None:
        """Returns nothing where an epoch follows stage 1.

        Args:
            epochs: of the run.

        Raises:
            ValueError: none does, so that the run would be multi-head training.
        """
        if self.warm_up_epochs is not None and self.warm_up_epochs >= epochs:
            raise MisfitError(
                "objective.warm_up_epochs",
                f"warm_up_epochs is {self.warm_up_epochs}, the run has {epochs} epochs, so nothing would ever be "
                "masked: lower warm_up_epochs or raise epochs",
            )


class Opm(WindowedSpec):
    """On-the-fly prediction modulation (Wei, Hu, Du, Wen, TPAMI 2024)."""

    kind: Literal["opm"] = "opm"
    title: ClassVar[str] = "OPM: on-the-fly prediction modulation"
    summary: ClassVar[str] = (
        "Drops the features of the modality that is ahead, for single samples, the more often the further it is ahead."
    )
    implementation: ClassVar[str] = "worker.objectives.opm:Opm"
    needs_splitting_fusion: ClassVar[bool] = True

    first_epoch: int = Field(
        7, ge=1, le=10_000, description="First epoch in which the method acts, from 1; the public code waits six."
    )
    probability: float = Field(
        0.7, ge=0.0, le=1.0, description="Share of batches in which features are dropped at all."
    )
    base_rate: float = Field(0.4, ge=0.0, lt=1.0, description="Drop rate of a modality that is barely ahead (q_base).")
    gain: float = Field(0.5, ge=0.0, le=10.0, description="How much the rate grows with the lead (lambda).")


class ModalityDropout(_Masking):
    """Blind dropout of whole modalities: the control that guided masking has to beat."""

    kind: Literal["modality-dropout"] = "modality-dropout"
    title: ClassVar[str] = "Modality dropout"
    summary: ClassVar[str] = (
        "Multi-head training; in stage 2 the fused loss sees a random modality zeroed in a share of the samples. The "
        "control for every method that chooses what to mask."
    )
    implementation: ClassVar[str] = "worker.objectives.masking:ModalityDropout"

    probability: float = Field(0.6, ge=0.0, le=1.0, description="Share of samples of which one modality is zeroed.")


class GmmMasking(_Masking):
    """Masking guided by the mixture of score gaps (ours)."""

    kind: Literal["gmm-masking"] = "gmm-masking"
    title: ClassVar[str] = "GMM-guided masking (ours)"
    summary: ClassVar[str] = (
        "Multi-head training; in stage 2 the fused loss sees a sample's dominant modality zeroed, with its probability "
        "of belonging to that modality's group of score gaps. The losses of the single modalities stay as they are."
    )
    implementation: ClassVar[str] = "worker.objectives.masking:GmmMasking"

    strength: float = Field(0.9, ge=0.0, le=1.0, description="Probability of masking where the group is certain.")
    guidance: Literal["posterior", "gap"] = Field(
        "posterior",
        description="posterior: by the signed mixture of three Gaussians. gap: by |gap| itself, without a mixture.",
    )

    def check_epochs(self, epochs: int) -> None:
        """Returns nothing where an epoch follows stage 1 and, for the mixture, another epoch.

        Args:
            epochs: of the run.

        Raises:
            ValueError: none does, so that the run would be multi-head training.
        """
        super().check_epochs(epochs)
        if self.guidance == "posterior" and epochs < 2:
            raise MisfitError(
                "objective.guidance",
                "the mixture that guides the masking is fitted at the end of an epoch, the run has 1: raise epochs, or "
                "choose guidance gap",
            )


class GmmExperts(GmmMasking):
    """GMM-guided experts (ours)."""

    kind: Literal["gmm-experts"] = "gmm-experts"  # type: ignore[assignment]  # a spec of its own with the same fields
    title: ClassVar[str] = "GMM-guided experts (ours)"
    summary: ClassVar[str] = (
        "Trained like GMM-guided masking; the fused prediction leaves the joint layer out and mixes both modalities' "
        "own predictions, clip by clip, by how certain each is."
    )
    implementation: ClassVar[str] = "worker.objectives.gmm_experts:GmmExperts"
    replaces_fusion: ClassVar[bool] = True


class Amco(WindowedSpec):
    """Adaptive mask co-optimization (Zhou et al., ICASSP 2023)."""

    kind: Literal["amco"] = "amco"
    title: ClassVar[str] = "AMCo: adaptive mask co-optimization"
    summary: ClassVar[str] = (
        "Zeroes a growing number of class logits of the modality on which the prediction depends, beside unimodal "
        "losses. Known to us from a benchmark's code alone, not from the paper: read its numbers with that in mind."
    )
    implementation: ClassVar[str] = "worker.objectives.amco:Amco"
    replaces_fusion: ClassVar[bool] = True

    sigma: float = Field(
        0.5, gt=0.0, lt=1.0, description="Share of the softmax mass from which a modality is depended on."
    )
    epsilon: float = Field(0.3, gt=0.0, le=1.0, description="Progress at which all classes of it are masked.")


SPECS: tuple[type[ObjectiveSpec], ...] = (Opm, ModalityDropout, GmmMasking, GmmExperts, Amco)
