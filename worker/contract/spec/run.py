"""The run spec: everything that decides what a run computes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from worker.contract.spec.augment import AugmentSpec
from worker.contract.spec.base import MisfitError, Spec
from worker.contract.spec.datasets import DatasetReference, DatasetSpec
from worker.contract.spec.model import Concat, EncoderSpec, FusionSpec, SmallCnn
from worker.contract.spec.objectives import Joint, ObjectiveSpec
from worker.contract.spec.objectives.base import RUN_ID_PATTERN
from worker.contract.spec.registry import (
    DATASETS,
    ENCODERS,
    FUSIONS,
    OBJECTIVES,
    OPTIMIZERS,
    SCHEDULES,
    OneOf,
)
from worker.contract.spec.training import AdamW, Cosine, EarlyStopping, OptimizerSpec, ScheduleSpec

SUBSET_ID_PATTERN = r"^subset-[a-z0-9]+-[a-z0-9]+$"
TagName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40)]


def _dataset_form(value: Any) -> str:
    """Tells a reference ({id, ...}) from a spec ({kind, ...})."""
    if isinstance(value, DatasetReference):
        return "reference"
    return "reference" if isinstance(value, dict) and "id" in value and "kind" not in value else "spec"


DatasetChoice = Annotated[
    Annotated[DatasetReference, Tag("reference")] | Annotated[DatasetSpec, OneOf(DATASETS), Tag("spec")],
    Discriminator(_dataset_form),
]


class RunSpec(Spec):
    """One training run."""

    name: str | None = Field(None, max_length=120, description="For people; empty: made from dataset and method.")
    tags: tuple[TagName, ...] = Field((), max_length=20, description="Free words to find the run by.")
    dataset: DatasetChoice = Field(description="A registered dataset by id, or a dataset spec (registered first).")
    encoder: Annotated[EncoderSpec, OneOf(ENCODERS)] = Field(SmallCnn(), description="What reads each modality.")
    fusion: Annotated[FusionSpec, OneOf(FUSIONS)] = Field(Concat(), description="What joins the modalities.")
    objective: Annotated[ObjectiveSpec, OneOf(OBJECTIVES)] = Field(Joint(), description="The training method.")
    optimizer: Annotated[OptimizerSpec, OneOf(OPTIMIZERS)] = Field(AdamW(), description="Gradients to steps.")
    schedule: Annotated[ScheduleSpec, OneOf(SCHEDULES)] = Field(Cosine(), description="Learning rate over epochs.")
    epochs: int = Field(20, ge=1, le=10_000, description="Passes over the training split.")
    batch_size: int = Field(64, ge=2, le=8_192, description="Clips a step.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Decides weights, sample order and augmentation.")
    augment: bool = Field(True, description="Random changes of the training clips: see augmentation.")
    augmentation: AugmentSpec = Field(AugmentSpec(), description="Which random changes, where augment is on.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="auto: fp32 or bf16 autocast and the memory format, whichever a short measurement finds clearly "
        "faster; fp32 where a run is too short for it.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether torch compiles the encoders, which takes a minute or more. auto: on a GPU, where "
        "precision is auto and the run is long enough to win it back; on a CPU never.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where the worker has one.")
    threads: int | None = Field(None, ge=1, le=256, description="CPU threads of the run; empty: the worker's cores.")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: each class weighs the same in every cross-entropy, however many clips it has."
    )
    clip_norm: float | None = Field(
        None, gt=0.0, le=1e6, description="Largest norm of the gradient of all parameters together; empty: no limit."
    )
    accumulate: int = Field(
        1,
        ge=1,
        le=1_024,
        description="Batches whose gradients make one optimizer step: batch_size x accumulate clips a step.",
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="End the run when validation has not got better for some epochs; empty: train all epochs."
    )
    subset: str | None = Field(
        None,
        pattern=SUBSET_ID_PATTERN,
        description="Train on the samples of this saved subset alone; validation and test stay whole. Empty: on all.",
    )
    start_from: str | None = Field(
        None,
        pattern=RUN_ID_PATTERN,
        description="A finished run whose weights are the first ones: same encoder, fusion and classes.",
    )
    start_weights: Literal["last", "chosen"] = Field(
        "last", description="Of which epoch of that run: its last one, or the one chosen by validation."
    )
    num_processes: int = Field(
        1, ge=1, le=64, description="Processes of the run, each on a GPU of its own; on a CPU they share its cores."
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        objective, fusion = self.objective, self.fusion
        objective.check_epochs(self.epochs)
        objective.check_encoder(self.encoder)
        if self.start_weights != "last" and self.start_from is None:
            raise MisfitError(
                "start_weights", "start_weights has no effect without start_from: name a run, or leave it at last"
            )
        if objective.needs_splitting_fusion and not fusion.splits:
            raise MisfitError(
                "fusion",
                f"the method {objective.kind!r} needs fused logits that split exactly into an audio and a visual part, "
                f"those of the fusion {fusion.kind!r} do not: choose the fusion concat or sum",
            )
        if objective.replaces_fusion and fusion != Concat():
            raise MisfitError(
                "fusion",
                f"the method {objective.kind!r} brings a fusion of its own, {fusion.kind!r} would have no effect: "
                "leave the fusion at its default",
            )
        if objective.steps_within_batch and self.accumulate > 1:
            raise MisfitError(
                "accumulate",
                f"the method {objective.kind!r} steps more than once a batch, so no gradients can be gathered over "
                "batches: set accumulate to 1 and choose the batch_size",
            )
        if self.batch_size < 2 * self.num_processes:
            raise MisfitError(
                "batch_size",
                f"batch_size is {self.batch_size} for {self.num_processes} processes, each needs 2 clips of a batch at "
                f"least: set batch_size to {2 * self.num_processes} or more, or lower num_processes",
            )
        return self
