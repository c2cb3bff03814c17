"""Specs of the methods that train one modality after the other: MLA, ReconBoost."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from worker.contract.spec.base import MisfitError
from worker.contract.spec.objectives.base import ObjectiveSpec


class Mla(ObjectiveSpec):
    """Multimodal learning with alternating unimodal adaptation, CVPR 2024."""

    kind: Literal["mla"] = "mla"
    title: ClassVar[str] = "MLA"
    summary: ClassVar[str] = (
        "One head for both modalities, which are trained one after the other in each batch; the head's gradients are "
        "turned away from the features seen before. Two optimizer steps a batch: compare by samples and steps. Needs "
        "encoders of equal feature size. AdamW divides the projected gradients' size away, not their direction."
    )
    implementation: ClassVar[str] = "worker.objectives.mla:Mla"
    replaces_fusion: ClassVar[bool] = True
    steps_within_batch: ClassVar[bool] = True

    projection: Literal["official", "rls"] = Field(
        "official",
        description="How the projection of the head's gradients is updated. official: as the public code, which "
        "divides by a matrix, element by element. rls: recursive least squares, which divides by one number.",
    )
    mixing: Literal["fixed", "dynamic"] = Field(
        "dynamic",
        description="How both modalities' logits are mixed wherever the model predicts. fixed: by audio_weight. "
        "dynamic: for each clip, the modality whose prediction has the smaller entropy weighs more.",
    )
    audio_weight: float = Field(
        0.5, ge=0.0, le=1.0, description="Share of the audio logits where mixing is fixed; visual has the rest."
    )


class ReconBoost(ObjectiveSpec):
    """ReconBoost, ICML 2024."""

    kind: Literal["reconboost"] = "reconboost"
    title: ClassVar[str] = "ReconBoost"
    summary: ClassVar[str] = (
        "Stages of some epochs: one modality alone learns what the other does not predict yet, then both are trained "
        "together; then the other modality has its turn. The optimizer begins anew in each. Needs encoders of equal "
        "feature size and enough epochs for several stages. AdamW divides the size of the boosting loss away."
    )
    implementation: ClassVar[str] = "worker.objectives.reconboost:ReconBoost"
    replaces_fusion: ClassVar[bool] = True

    own_weight: float = Field(5.0, gt=0.0, le=100.0, description="Weight of the modality's own cross-entropy (w1).")
    residual_weight: float = Field(
        1.0,
        ge=0.0,
        le=100.0,
        description="How much of it is taken off where the other modality is sure of the true class already (w2); "
        "below own_weight, else the loss has no lower bound.",
    )
    agreement: float = Field(
        0.5, ge=0.0, le=100.0, description="Weight of the squared difference to the other modality's posterior (alpha)."
    )
    rate: float = Field(
        1.0, gt=0.0, le=100.0, description="First value of the learnt factor on the summed logits (boosting rate)."
    )
    stage_epochs: int = Field(4, ge=1, le=1_000, description="Epochs in which one modality is trained alone.")
    rectify_epochs: int = Field(4, ge=0, le=1_000, description="Epochs after them in which both are trained together.")
    num_hidden: int = Field(256, ge=1, le=8_192, description="Hidden features of the shared head.")

    def check_epochs(self, epochs: int) -> None:
        """Returns nothing where each modality has its turn.

        Args:
            epochs: of the run.

        Raises:
            ValueError: the visual encoder would never be in turn.
        """
        needed = 2 * self.stage_epochs + self.rectify_epochs
        if epochs < needed:
            raise MisfitError(
                "objective.stage_epochs",
                f"'reconboost' needs {needed} epochs for a turn of each modality (twice stage_epochs "
                f"{self.stage_epochs}, and rectify_epochs {self.rectify_epochs} between), the run has {epochs}: raise "
                "epochs, or lower stage_epochs or rectify_epochs",
            )

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.own_weight <= self.residual_weight:
            raise MisfitError(
                "own_weight",
                f"own_weight ({self.own_weight:g}) must be greater than residual_weight ({self.residual_weight:g}), "
                "else the loss has no lower bound: raise own_weight or lower residual_weight",
            )
        return self


SPECS: tuple[type[ObjectiveSpec], ...] = (Mla, ReconBoost)
