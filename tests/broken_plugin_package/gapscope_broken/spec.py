"""Specs that cannot be used, and one (Ghost) that can but for its implementation."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from worker.contract.spec.model import EncoderSpec
from worker.contract.spec.objectives import ObjectiveSpec

NO_CLASS = 3


class Texts:
    title: ClassVar[str] = "Broken"
    summary: ClassVar[str] = "Broken."
    implementation: ClassVar[str] = "gapscope_broken.nowhere:Thing"


class WrongBase(BaseModel):
    kind: Literal["wrong-base"] = "wrong-base"


class TakenKind(Texts, ObjectiveSpec):
    kind: Literal["joint"] = "joint"


class Opaque:
    pass


class NoSchema(Texts, EncoderSpec):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    kind: Literal["no-schema"] = "no-schema"
    thing: Opaque = Field(default_factory=Opaque, description="Nothing that JSON could say.")


class NeverDefined(Texts, ObjectiveSpec):
    kind: Literal["never-defined"] = "never-defined"
    other: Missing | None = None  # type: ignore[name-defined]  # noqa: F821


class Ghost(Texts, ObjectiveSpec):
    kind: Literal["ghost"] = "ghost"
