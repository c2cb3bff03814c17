"""Objective specs: the training methods, one class each."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from worker.contract.spec.base import Component


class ObjectiveSpec(Component):
    """A training method."""

    gaps: Literal["online", "clean"] = Field(
        "online",
        description="Training gaps measured in the training pass itself (online, free) or by a pass of their own at "
        "the end of the epoch (clean). The two are never compared with each other.",
    )


class Joint(ObjectiveSpec):
    """Cross-entropy of the fused logits alone: the baseline."""

    kind: Literal["joint"] = "joint"
    title: ClassVar[str] = "Joint training"
    summary: ClassVar[str] = (
        "Plain training on the fused prediction. Probes beside it read what each modality has learnt, nothing more."
    )
    implementation: ClassVar[str] = "worker.objectives.joint:Joint"


class MultiHead(ObjectiveSpec):
    """Adds the cross-entropy of each modality's own head: a strong baseline."""

    kind: Literal["multi-head"] = "multi-head"
    title: ClassVar[str] = "Multi-head"
    summary: ClassVar[str] = "Each modality also has a head and a loss of its own; all three losses are added."
    implementation: ClassVar[str] = "worker.objectives.multi_head:MultiHead"


class GmmAdaptive(ObjectiveSpec):
    """The GMM-guided adaptive loss of arXiv 2510.21797."""

    kind: Literal["gmm-adaptive"] = "gmm-adaptive"
    title: ClassVar[str] = "GMM-guided adaptive loss"
    summary: ClassVar[str] = (
        "Stage 1 trains like multi-head. Stage 2 weighs each sample by its probability of belonging to the dominant "
        "group of the score gaps: balanced samples learn more fusion, dominant ones pay more for their gap."
    )
    implementation: ClassVar[str] = "worker.objectives.gmm_adaptive:GmmAdaptive"

    warm_up_epochs: int | None = Field(
        None, ge=0, le=10_000, description="Epochs of stage 1; empty: a quarter of all, at least 2."
    )
    alpha: float = Field(1.0, ge=0.0, le=100.0, description="Extra weight of the fused loss on balanced samples.")
    lambda_gap: float = Field(1.0, ge=0.0, le=100.0, description="Weight of the score gap |g| (lambda).")
    kappa: float = Field(1.0, ge=0.0, le=100.0, description="Extra gap weight on samples of the dominant group.")
    beta: float = Field(0.1, ge=0.0, le=100.0, description="Weight of the KL term that moves the dominant group.")
    variance_floor: float = Field(0.04, gt=0.0, le=1.0, description="Floor of both variances in the KL term (V).")
    posterior: Literal["paper", "signed"] = Field(
        "paper", description="paper: two Gaussians. signed: three, a dominant one on each side."
    )
    when_not_bimodal: Literal["posterior", "rank"] = Field(
        "posterior",
        description="Where the mixture fails the validity test: use its posterior all the same (the paper), or the "
        "rank of |g| (ours).",
    )
    gap_gradient: Literal["both", "weaker"] = Field(
        "both", description="Who pays for the gap: both branches (the paper) or the weaker one alone (ours)."
    )
