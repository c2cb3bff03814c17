"""Specs of the methods that change the loss: MMCosine, CML, MBSD, PMR, LFM, late average, blending."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from worker.contract.spec.base import MisfitError
from worker.contract.spec.objectives.base import ObjectiveSpec, WindowedSpec, source_run


class LateAverage(ObjectiveSpec):
    """Two unimodal models side by side (UME: uni-modal ensemble)."""

    kind: Literal["late-average"] = "late-average"
    title: ClassVar[str] = "Late average (UME)"
    summary: ClassVar[str] = (
        "Each modality learns by its own loss alone; the fused prediction is the mean of both heads' logits, in "
        "evaluation and scoring too. No modality can hold the other back: what fusion has to beat."
    )
    implementation: ClassVar[str] = "worker.objectives.late_average:LateAverage"
    extends: ClassVar[str] = "multi-head"
    replaces_fusion: ClassVar[bool] = True


class Experts(ObjectiveSpec):
    """Experts mixed by certainty (ours)."""

    kind: Literal["experts"] = "experts"
    title: ClassVar[str] = "Experts mixed by certainty (ours)"
    summary: ClassVar[str] = (
        "Each modality learns by its own loss alone; the fused prediction mixes both, clip by clip, by how certain "
        "each is. No joint layer, so nothing can be suppressed and nothing is learnt from both together."
    )
    implementation: ClassVar[str] = "worker.objectives.experts:Experts"
    extends: ClassVar[str] = "multi-head"
    replaces_fusion: ClassVar[bool] = True


class FixedBlend(ObjectiveSpec):
    """A weighted sum of the three cross-entropies."""

    kind: Literal["fixed-blend"] = "fixed-blend"
    title: ClassVar[str] = "Fixed blend"
    summary: ClassVar[str] = "Multi-head training with given weights of the fused, the audio and the visual loss."
    implementation: ClassVar[str] = "worker.objectives.fixed_blend:FixedBlend"
    extends: ClassVar[str] = "multi-head"

    fused_weight: float = Field(
        1.0, gt=0.0, le=100.0, description="Weight of the fused cross-entropy; at 0 nothing would train the fusion."
    )
    audio_weight: float = Field(1.0, ge=0.0, le=100.0, description="Weight of the audio head's cross-entropy.")
    visual_weight: float = Field(1.0, ge=0.0, le=100.0, description="Weight of the visual head's cross-entropy.")


class MmCosine(ObjectiveSpec):
    """Multi-modal cosine loss (Xu et al., ICASSP 2023)."""

    kind: Literal["mmcosine"] = "mmcosine"
    title: ClassVar[str] = "MMCosine: cosine head"
    summary: ClassVar[str] = (
        "Features and class weights of each modality are normalised before the logits, in evaluation and scoring too, "
        "so that no modality leads by the length of its features."
    )
    implementation: ClassVar[str] = "worker.objectives.mmcosine:MmCosine"
    replaces_fusion: ClassVar[bool] = True

    scale: float = Field(
        10.0, gt=0.0, le=100.0, description="Factor on the cosines (s); small ones bound how certain it can be."
    )


class Cml(WindowedSpec):
    """Calibrating multimodal learning (Ma et al., ICML 2023)."""

    kind: Literal["cml"] = "cml"
    title: ClassVar[str] = "CML: calibrated confidence"
    summary: ClassVar[str] = "Joint training that pays wherever the confidence rises when a modality is removed."
    implementation: ClassVar[str] = "worker.objectives.cml:Cml"

    strength: float = Field(
        0.1, ge=0.0, le=100.0, description="Weight of the rises (lambda), which are added up over the batch."
    )


class Mbsd(WindowedSpec):
    """Self-distillation between the modalities, known as MBSD."""

    kind: Literal["mbsd"] = "mbsd"
    title: ClassVar[str] = "MBSD: the weaker imitates the stronger"
    summary: ClassVar[str] = (
        "Multi-head training in which, sample by sample, the weaker modality also imitates the stronger one. Known to "
        "us from a benchmark's code alone, whose divergence we mended: read its numbers with that in mind."
    )
    implementation: ClassVar[str] = "worker.objectives.mbsd:Mbsd"
    extends: ClassVar[str] = "multi-head"

    strength: float = Field(1.0, ge=0.0, le=100.0, description="Weight of the imitation; 1 in the benchmark's code.")


class Lfm(ObjectiveSpec):
    """Classification and alignment in a mixture that changes with the epochs (LFM, NeurIPS 2024)."""

    kind: Literal["lfm"] = "lfm"
    title: ClassVar[str] = "LFM: scheduled alignment"
    summary: ClassVar[str] = (
        "Trains the mean of both heads' logits, and pulls both predictions together with a weight that moves from the "
        "first epoch to the last. Our linear schedule stands in for the learnt or fitted one of the authors."
    )
    implementation: ClassVar[str] = "worker.objectives.lfm:Lfm"
    replaces_fusion: ClassVar[bool] = True

    first_alignment: float = Field(
        0.8, ge=0.05, le=0.95, description="Weight of the alignment in epoch 1 (a1); classification has the rest."
    )
    last_alignment: float = Field(0.05, ge=0.05, le=0.95, description="Weight of the alignment in the last epoch.")


class Pmr(WindowedSpec):
    """Prototypical modal rebalance (Fan et al., CVPR 2023)."""

    kind: Literal["pmr"] = "pmr"
    title: ClassVar[str] = "PMR: prototypical rebalance"
    summary: ClassVar[str] = (
        "Joint training in which the slower modality of a batch also learns to come near the prototype of its class."
    )
    implementation: ClassVar[str] = "worker.objectives.pmr:Pmr"
    acts_on_encoders: ClassVar[bool] = True

    alpha: float = Field(1.0, ge=0.0, le=100.0, description="Weight of the slower modality's prototype loss.")
    momentum: float = Field(
        0.2, ge=0.0, lt=1.0, description="Share of the old prototypes that stays when new ones are taken each epoch."
    )
    share: float = Field(
        0.1, gt=0.0, le=1.0, description="Share of each class's training clips that prototypes are taken from."
    )
    entropy_weight: float = Field(
        0.0, ge=0.0, le=100.0, description="Weight of the faster modality's entropy (mu), which slows it; 0: off."
    )
    entropy_epochs: int = Field(5, ge=0, le=10_000, description="First epochs in which that entropy counts.")

    @model_validator(mode="after")
    def _check_entropy(self) -> Self:
        if self.entropy_weight > 0 and self.entropy_epochs < self.first_epoch:
            raise MisfitError(
                "entropy_weight",
                f"entropy_weight has no effect: it counts up to epoch {self.entropy_epochs} (entropy_epochs), the "
                f"method acts from epoch {self.first_epoch}: raise entropy_epochs or set entropy_weight to 0",
            )
        return self


class GBlending(ObjectiveSpec):
    """Gradient blending (Wang, Tran, Feiszli, CVPR 2020)."""

    kind: Literal["g-blending"] = "g-blending"
    title: ClassVar[str] = "G-Blending: measured weights"
    summary: ClassVar[str] = (
        "Multi-head training with weights of the three losses that three finished runs give: by how much each "
        "generalised for how much it overfitted. Or with weights that are given."
    )
    implementation: ClassVar[str] = "worker.objectives.g_blending:GBlending"
    extends: ClassVar[str] = "multi-head"

    fused_run: str | None = source_run(
        "joint", "Finished run on both modalities.", required=False, uses="audio and visual"
    )
    audio_run: str | None = source_run(
        "audio-only", "Finished run on the sound alone.", required=False, uses="audio alone"
    )
    visual_run: str | None = source_run(
        "visual-only", "Finished run on the picture alone.", required=False, uses="visual alone"
    )
    from_epoch: int = Field(1, ge=1, le=10_000, description="Epoch of those runs at which measuring begins (N).")
    num_epochs: int | None = Field(
        None, ge=1, le=10_000, description="Epochs that are measured (n); empty: to the end of the shortest run."
    )
    epsilon: float = Field(
        1e-3, gt=0.0, le=1.0, description="Added to the squared change of overfitting, nats squared."
    )
    fused_weight: float | None = Field(None, gt=0.0, le=100.0, description="Weight of the fused loss, without runs.")
    audio_weight: float | None = Field(None, ge=0.0, le=100.0, description="Weight of the audio loss, without runs.")
    visual_weight: float | None = Field(None, ge=0.0, le=100.0, description="Weight of the visual loss, without runs.")

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        runs = {"fused_run": self.fused_run, "audio_run": self.audio_run, "visual_run": self.visual_run}
        weights = {
            "fused_weight": self.fused_weight,
            "audio_weight": self.audio_weight,
            "visual_weight": self.visual_weight,
        }
        by_runs, by_weights = (any(one is not None for one in named.values()) for named in (runs, weights))
        if by_runs == by_weights:
            raise MisfitError("fused_run", "name either three finished runs or three weights, not both and not neither")
        empty = [name for name, one in (runs if by_runs else weights).items() if one is None]
        if empty:
            raise MisfitError(empty[0], "all three of fused, audio and visual are needed")
        return self


SPECS: tuple[type[ObjectiveSpec], ...] = (LateAverage, Experts, FixedBlend, MmCosine, Cml, Mbsd, Lfm, Pmr, GBlending)
