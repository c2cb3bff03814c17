"""The run spec: everything that decides what a run computes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from worker.contract.spec.base import Spec
from worker.contract.spec.datasets import DatasetReference, DatasetSpec
from worker.contract.spec.model import Concat, EncoderSpec, FusionSpec, SmallCnn
from worker.contract.spec.objectives import Joint, ObjectiveSpec
from worker.contract.spec.registry import (
    DATASETS,
    ENCODERS,
    FUSIONS,
    OBJECTIVES,
    OPTIMIZERS,
    SCHEDULES,
    OneOf,
)
from worker.contract.spec.training import AdamW, Cosine, OptimizerSpec, ScheduleSpec

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
    augment: bool = Field(True, description="Random crop, horizontal shift and time shift of the training clips.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 autocast where the device gains by it, else fp32."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where the worker has one.")
    threads: int | None = Field(None, ge=1, le=256, description="CPU threads of the run; empty: the worker's cores.")
    num_processes: int = Field(1, ge=1, le=64, description="Devices (torchrun processes) of the run.")
