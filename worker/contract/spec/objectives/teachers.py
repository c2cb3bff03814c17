"""Specs of the methods that learn from earlier runs: UMT, G2D."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from worker.contract.spec.base import MisfitError
from worker.contract.spec.objectives.base import ObjectiveSpec, WindowedSpec, source_run

AUDIO_TEACHER_HELP = (
    "Finished run that teaches the audio encoder: usually audio-only, with the same number of features."
)
VISUAL_TEACHER_HELP = (
    "Finished run that teaches the visual encoder: usually visual-only, with the same number of features."
)


class Umt(WindowedSpec):
    """Uni-modal teacher (Du et al., ICML 2023)."""

    kind: Literal["umt"] = "umt"
    title: ClassVar[str] = "UMT: unimodal teachers"
    summary: ClassVar[str] = (
        "Joint training in which each encoder also imitates the features of a finished run on its modality alone. The "
        "weight follows a benchmark's code; the paper's was not at hand."
    )
    implementation: ClassVar[str] = "worker.objectives.umt:Umt"
    acts_on_encoders: ClassVar[bool] = True

    audio_teacher: str = source_run("audio-only", AUDIO_TEACHER_HELP, uses="audio")
    visual_teacher: str = source_run("visual-only", VISUAL_TEACHER_HELP, uses="visual")
    scaling: float = Field(
        10.0, ge=0.0, le=1_000.0, description="Weight of both encoders' mean squared error from their teachers."
    )


class G2d(ObjectiveSpec):
    """Gradient-guided distillation (Rakib & Bagavathi, ICCV 2025)."""

    kind: Literal["g2d"] = "g2d"
    title: ClassVar[str] = "G2D: gradient-guided distillation"
    summary: ClassVar[str] = (
        "Learns from two finished runs, one on each modality alone; in the first epochs the encoder rests whose "
        "teacher is ahead on the batch."
    )
    implementation: ClassVar[str] = "worker.objectives.g2d:G2d"
    acts_on_encoders: ClassVar[bool] = True

    audio_teacher: str = source_run("audio-only", AUDIO_TEACHER_HELP, uses="audio")
    visual_teacher: str = source_run("visual-only", VISUAL_TEACHER_HELP, uses="visual")
    fused_weight: float = Field(1.0, ge=0.0, le=100.0, description="Weight of the fused cross-entropy (w0).")
    logit_weight: float = Field(
        1.0, ge=0.0, le=100.0, description="Weight of each teacher's divergence from the fused prediction (w1)."
    )
    feature_weight: float = Field(
        1.0, ge=0.0, le=1_000.0, description="Weight of each encoder's mean squared error from its teacher (w2)."
    )
    temperature: float = Field(2.0, gt=0.0, le=100.0, description="Softens both predictions before they are compared.")
    priority_epochs: int | None = Field(
        None, ge=0, le=10_000, description="First epochs in which the leading encoder rests; empty: half of all."
    )

    @model_validator(mode="after")
    def _check_fused(self) -> Self:
        if self.fused_weight == 0 and self.logit_weight == 0:
            raise MisfitError(
                "fused_weight", "nothing would train the fused prediction: raise fused_weight or logit_weight above 0"
            )
        return self


SPECS: tuple[type[ObjectiveSpec], ...] = (Umt, G2d)
