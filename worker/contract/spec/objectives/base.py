"""What every objective spec has: how gaps are measured, a window of epochs, earlier runs that it builds on."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from worker.contract.spec.base import Component, MisfitError
from worker.contract.spec.model import EncoderSpec

RUN_ID_PATTERN = r"^run-[a-z0-9]+-[a-z0-9]+$"
SOURCE_KEY = "x-source"
USES_KEY = "x-uses"
BOTH = ("audio", "visual")


class ObjectiveSpec(Component):
    """A training method."""

    modalities: ClassVar[tuple[str, ...]] = BOTH
    """What a model of the method uses."""
    extends: ClassVar[str] = "joint"
    """The method that it is outside its window of epochs, or with all its coefficients at nothing."""
    needs_splitting_fusion: ClassVar[bool] = False
    """It reads the audio and the visual part of the fused logits, so the fusion must split exactly."""
    replaces_fusion: ClassVar[bool] = False
    """It brings a fusion of its own; the run's choice of another than the default is refused."""
    steps_within_batch: ClassVar[bool] = False
    """The optimizer steps more than once a batch, so gradients cannot be gathered over batches."""
    acts_on_encoders: ClassVar[bool] = False
    """What it does, it does to the encoders' weights or their gradients: without such it has no effect."""

    gaps: Literal["online", "clean"] = Field(
        "online",
        description="Training gaps measured in the training pass itself (online, free) or by a pass of their own at "
        "the end of the epoch (clean). The two are never compared with each other.",
    )

    def check_epochs(self, epochs: int) -> None:
        """Returns nothing where the method's stages fit a run of so many epochs.

        Args:
            epochs: of the run.

        Raises:
            ValueError: they do not; the message says what to change.
        """

    def check_encoder(self, encoder: EncoderSpec) -> None:
        """Returns nothing where the method finds in the encoders what it acts on.

        Args:
            encoder: of the run.

        Raises:
            ValueError: it does not; the message says what to change.
        """
        if self.acts_on_encoders and not encoder.learns:
            raise MisfitError(
                "encoder",
                f"the method {self.kind!r} acts on the weights of the encoders, those of {encoder.kind!r} as chosen "
                "have none: set num_hidden above 0, or choose another encoder or method",
            )

    def source_fault(self, name: str, other: ObjectiveSpec) -> str | None:
        """Returns what an earlier run must be trained on, where a field names one that is not; else None.

        Args:
            name: field that names the run.
            other: that run's method.
        """
        extra = type(self).model_fields[name].json_schema_extra
        uses = extra.get(USES_KEY) if isinstance(extra, dict) else None
        if not isinstance(uses, str):
            return None
        alone = uses.endswith(" alone")
        needed = tuple(uses.removesuffix(" alone").split(" and "))
        fits = other.modalities == needed if alone else set(needed) <= set(other.modalities)
        return None if fits else uses

    def source_runs(self) -> dict[str, str]:
        """Returns the earlier runs that the method builds on: field -> run id. They must be finished."""
        return {
            name: str(getattr(self, name))
            for name, field in type(self).model_fields.items()
            if isinstance(field.json_schema_extra, dict)
            and SOURCE_KEY in field.json_schema_extra
            and getattr(self, name) is not None
        }


class WindowedSpec(ObjectiveSpec):
    """A method that acts in some epochs; outside them the run trains as the method that it extends."""

    first_epoch: int = Field(1, ge=1, le=10_000, description="First epoch in which the method acts, from 1.")
    last_epoch: int | None = Field(None, ge=1, le=10_000, description="Last epoch in which it acts; empty: to the end.")

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.last_epoch is not None and self.last_epoch < self.first_epoch:
            raise MisfitError(
                "last_epoch", f"last_epoch ({self.last_epoch}) must not come before first_epoch ({self.first_epoch})"
            )
        return self

    def check_epochs(self, epochs: int) -> None:
        """Returns nothing where the window begins within the run.

        Args:
            epochs: of the run.

        Raises:
            ValueError: it does not, so that the run would train as the method that it extends.
        """
        if self.first_epoch > epochs:
            raise MisfitError(
                "objective.first_epoch",
                f"the method {self.kind!r} acts from epoch {self.first_epoch}, the run has {epochs}, so it would never "
                "act: lower first_epoch or raise epochs",
            )


def source_run(kind: str, description: str, *, required: bool = True, uses: str | None = None) -> Any:
    """Returns a field that names an earlier run by its id.

    Args:
        kind: the method with which that run is usually trained ("audio-only", ...): the launch form and
            `gapscope bench methods` look for such runs.
        description: for people.
        required: whether the spec cannot do without it.
        uses: what that run must be trained on: "audio", "visual alone", "audio and visual", ...; None: on any.
    """
    extra: dict[str, Any] = {SOURCE_KEY: kind, **({} if uses is None else {USES_KEY: uses})}
    return Field(... if required else None, pattern=RUN_ID_PATTERN, description=description, json_schema_extra=extra)
