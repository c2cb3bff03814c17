"""Spec of the paper's method, arXiv 2510.21797."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from worker.contract.spec.base import MisfitError
from worker.contract.spec.objectives.base import ObjectiveSpec

PURIFICATION_RATE_FACTOR = 0.1
"""On the learning rate, in stage 3 and in a run of its own on selected samples. Ours."""


class GmmAdaptive(ObjectiveSpec):
    """The GMM-guided adaptive loss of arXiv 2510.21797."""

    kind: Literal["gmm-adaptive"] = "gmm-adaptive"
    title: ClassVar[str] = "GMM-guided adaptive loss"
    summary: ClassVar[str] = (
        "Stage 1 trains like multi-head. Stage 2 weighs each sample by its probability of belonging to the dominant "
        "group of the score gaps: balanced samples learn more fusion, dominant ones pay more for their gap. Stage 3 "
        "(optional) fine-tunes the fused prediction on the samples with similar scores."
    )
    implementation: ClassVar[str] = "worker.objectives.gmm_adaptive:GmmAdaptive"
    extends: ClassVar[str] = "multi-head"

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
    purification: bool = Field(
        False, description="Stage 3: the last epochs fine-tune the fused prediction on selected samples."
    )
    purification_epochs: int | None = Field(
        None, ge=1, le=10_000, description="Epochs of stage 3, where it is on; empty: a tenth of all, at least 1."
    )
    purification_threshold: float = Field(
        0.5,
        gt=0.0,
        le=1.0,
        description="Stage 3 selects the samples whose probability of the dominant group is below this (tau).",
    )
    purification_drop_wrong: bool = Field(
        False, description="Stage 3 leaves out the samples with similar scores whose fused prediction is wrong."
    )

    def check_epochs(self, epochs: int) -> None:
        """Returns nothing where stages 1 and 3 leave an adaptive epoch; a run without stage 3 may be stage 1 alone.

        Args:
            epochs: of the run.

        Raises:
            ValueError: they leave none.
        """
        if self.warm_up_epochs is not None and self.warm_up_epochs > epochs:
            raise MisfitError(
                "objective.warm_up_epochs",
                f"warm_up_epochs is {self.warm_up_epochs}, the run has {epochs} epochs: lower warm_up_epochs or raise "
                "epochs",
            )
        if not self.purification:
            return
        third, first = num_purification_epochs(epochs, self.purification_epochs), self.warm_up_epochs or 0
        if first + third >= epochs:
            raise MisfitError(
                "objective.purification_epochs",
                f"{first} epochs of stage 1 and {third} of stage 3 leave none of {epochs} epochs for stage 2, at least "
                "1 is needed: raise epochs, lower warm_up_epochs or purification_epochs, or turn purification off",
            )


def num_purification_epochs(epochs: int, given: int | None) -> int:
    """Returns the number of epochs of stage 3, where there is one.

    Args:
        epochs: all epochs of the run, at least 1.
        given: the user's own number, at least 1; None takes the default rule, max(1, floor(epochs / 10)).

    Source: the stage is the paper's; the default number is ours.
    """
    return max(1, epochs // 10) if given is None else given


SPECS: tuple[type[ObjectiveSpec], ...] = (GmmAdaptive,)
