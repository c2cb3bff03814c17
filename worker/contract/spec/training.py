"""Optimizer and schedule specs."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from worker.contract.spec.base import Component, Spec


class OptimizerSpec(Component):
    """Turns gradients into steps."""

    learning_rate: float = Field(1e-3, gt=0.0, le=10.0, description="Learning rate at the start.")
    weight_decay: float = Field(1e-4, ge=0.0, le=1.0, description="Weight decay.")


class Sgd(OptimizerSpec):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    title: ClassVar[str] = "SGD"
    summary: ClassVar[str] = "Stochastic gradient descent with momentum, as in most imbalance papers."
    implementation: ClassVar[str] = "worker.engine.optimization:sgd"

    learning_rate: float = Field(1e-2, gt=0.0, le=10.0, description="Learning rate at the start.")
    momentum: float = Field(0.9, ge=0.0, lt=1.0, description="Momentum.")


class AdamW(OptimizerSpec):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    title: ClassVar[str] = "AdamW"
    summary: ClassVar[str] = (
        "Adam with decoupled weight decay. It divides a constant gradient scale away: methods that scale an encoder's "
        "gradient do little under it."
    )
    implementation: ClassVar[str] = "worker.engine.optimization:adamw"


class ScheduleSpec(Component):
    """The learning rate over epochs."""

    warm_up_epochs: float = Field(
        0.0,
        ge=0.0,
        le=1_000.0,
        description="Epochs over which the learning rate rises in a straight line from 0, on top of the schedule. Not "
        "a stage of a method.",
    )


class Constant(ScheduleSpec):
    """The learning rate stays."""

    kind: Literal["constant"] = "constant"
    title: ClassVar[str] = "Constant"
    summary: ClassVar[str] = "The learning rate stays."
    implementation: ClassVar[str] = "worker.engine.optimization:constant"


class Cosine(ScheduleSpec):
    """Half a cosine from the learning rate to a share of it."""

    kind: Literal["cosine"] = "cosine"
    title: ClassVar[str] = "Cosine"
    summary: ClassVar[str] = "Half a cosine from the learning rate down to a share of it, over all epochs."
    implementation: ClassVar[str] = "worker.engine.optimization:cosine"

    final_share: float = Field(0.01, ge=0.0, le=1.0, description="Share of the learning rate that is left at the end.")


class Step(ScheduleSpec):
    """The learning rate falls by a factor every so many epochs."""

    kind: Literal["step"] = "step"
    title: ClassVar[str] = "Step"
    summary: ClassVar[str] = "The learning rate is multiplied by a factor every so many epochs."
    implementation: ClassVar[str] = "worker.engine.optimization:step"

    step_epochs: int = Field(70, ge=1, le=10_000, description="Epochs between two falls.")
    factor: float = Field(0.1, gt=0.0, lt=1.0, description="What the learning rate is multiplied by.")


class EarlyStopping(Spec):
    """When a run ends before its last epoch: when validation has not got better for some epochs."""

    patience: int = Field(5, ge=1, le=10_000, description="Epochs without a better figure after which the run ends.")
    figure: Literal["accuracy", "cross-entropy"] = Field(
        "accuracy", description="Of the fused prediction on the validation split, under either protocol."
    )
    min_change: float = Field(0.0, ge=0.0, le=10.0, description="How much better counts as better.")
