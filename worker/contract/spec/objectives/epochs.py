"""Specs of the methods that act between epochs: valuations, re-learning, data remixing."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from worker.contract.spec.base import MisfitError
from worker.contract.spec.objectives.base import ObjectiveSpec, WindowedSpec


class SampleValuation(WindowedSpec):
    """Sample-level modality valuation (Wei et al., CVPR 2024)."""

    kind: Literal["sample-valuation"] = "sample-valuation"
    title: ClassVar[str] = "Sample-level modality valuation"
    summary: ClassVar[str] = (
        "Values what each modality contributes to being right on each sample (Shapley), and trains once to three times "
        "more on those where it contributes little, with the other modality masked. Epochs grow longer."
    )
    implementation: ClassVar[str] = "worker.objectives.valuation:SampleValuation"

    first_epoch: int = Field(
        6, ge=1, le=10_000, description="First epoch in which the method acts, from 1; the public code waits five."
    )


class ModalityValuation(WindowedSpec):
    """Modality-level valuation (Wei et al., CVPR 2024)."""

    kind: Literal["modality-valuation"] = "modality-valuation"
    title: ClassVar[str] = "Modality-level valuation"
    summary: ClassVar[str] = (
        "Values each modality on a share of the samples, and trains more on random samples with the modality that "
        "contributes more masked, the more the further the two are apart. Epochs grow longer."
    )
    implementation: ClassVar[str] = "worker.objectives.valuation:ModalityValuation"

    first_epoch: int = Field(
        6, ge=1, le=10_000, description="First epoch in which the method acts, from 1; the public code waits five."
    )
    valued_share: float = Field(0.2, gt=0.0, le=1.0, description="Share of the training samples that is valued.")
    strength: float = Field(1.0, ge=0.0, le=10.0, description="How many samples are added for a difference (alpha).")
    shape: Literal["linear", "tanh", "power"] = Field(
        "linear", description="What is made of the difference: itself, its tanh, or its power of 1.5."
    )


class Relearning(ObjectiveSpec):
    """Diagnosing and re-learning (Wei et al., ECCV 2024)."""

    kind: Literal["relearning"] = "relearning"
    title: ClassVar[str] = "Diagnosing and re-learning"
    summary: ClassVar[str] = (
        "Now and then pulls each encoder back towards its first weights, the more the better its features separate the "
        "classes in training than in validation. Checkpoints hold both encoders twice."
    )
    implementation: ClassVar[str] = "worker.objectives.relearning:Relearning"
    acts_on_encoders: ClassVar[bool] = True

    every_epochs: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Epochs between two re-learnings; empty: a fifth of the run (20 of 100 in the public code).",
    )
    max_times: int = Field(3, ge=1, le=100, description="Re-learnings in the whole run.")
    strength: float = Field(3.0, ge=0.0, le=100.0, description="How strongly the difference pulls back (lambda).")

    def check_epochs(self, epochs: int) -> None:
        """Returns nothing where an epoch follows the first re-learning.

        Args:
            epochs: of the run.

        Raises:
            ValueError: none does, so that the run would be joint training.
        """
        every = self.every_epochs or 1
        if every >= epochs:
            raise MisfitError(
                "objective.every_epochs",
                f"the first re-learning comes after epoch {every}, the run has {epochs}, so there would be none: lower "
                "every_epochs or raise epochs",
            )


class DataRemix(ObjectiveSpec):
    """Data remixing (Ma, Chen, Deng, ICML 2025)."""

    kind: Literal["data-remix"] = "data-remix"
    title: ClassVar[str] = "Data remixing"
    summary: ClassVar[str] = (
        "After a warm-up each sample trains only the modality that is less sure of it, in batches of one modality, "
        "the other masked."
    )
    implementation: ClassVar[str] = "worker.objectives.data_remix:DataRemix"

    warm_up_epochs: int = Field(
        10, ge=0, le=10_000, description="Epochs of plain training first; at most half of the run is used."
    )
    warm_up_weight: float = Field(0.5, ge=0.0, le=100.0, description="Weight of the unimodal losses in the warm-up.")
    gamma: float = Field(1.0, ge=0.0, le=100.0, description="Weight of the unimodal loss after the warm-up.")


SPECS: tuple[type[ObjectiveSpec], ...] = (SampleValuation, ModalityValuation, Relearning, DataRemix)
