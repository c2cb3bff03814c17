"""What may join the registry of components, and that a refusal leaves it as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, TypeAdapter

from worker.contract.spec import DatasetSpec, EncoderSpec, ObjectiveSpec
from worker.contract.spec.registry import ENCODERS, OBJECTIVES, OneOf, register


class Texts:
    title: ClassVar[str] = "Title"
    summary: ClassVar[str] = "Summary."
    implementation: ClassVar[str] = "package.module:Name"


class Good(Texts, ObjectiveSpec):
    kind: Literal["good"] = "good"


class Taken(Texts, ObjectiveSpec):
    kind: Literal["joint"] = "joint"


class OpenKind(Texts, ObjectiveSpec):
    kind: str = "open-kind"


class LoudKind(Texts, ObjectiveSpec):
    kind: Literal["Loud Kind"] = "Loud Kind"


class NoTitle(ObjectiveSpec):
    kind: Literal["no-title"] = "no-title"
    summary: ClassVar[str] = "Summary."
    implementation: ClassVar[str] = "package.module:Name"


class NoPlace(Texts, ObjectiveSpec):
    kind: Literal["no-place"] = "no-place"
    implementation: ClassVar[str] = "package.module"


class NoSchema(Texts, EncoderSpec):
    kind: Literal["no-schema"] = "no-schema"
    function: Callable[[], int] = Field(int, description="JSON has no functions.")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (3, "is no dataset"),
        (dict, "is no dataset"),
        (DatasetSpec, "is no dataset"),
        (Taken, "kind 'joint' is taken by worker.contract.spec"),
        (OpenKind, "needs a field kind"),
        (LoudKind, "lower-case"),
        (NoTitle, "'title'"),
        (NoPlace, "package.module:Name"),
        (NoSchema, "Cannot generate a JsonSchema"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_registries_stay(spec: Any, words: str) -> None:
    before = dict(OBJECTIVES), dict(ENCODERS)
    with pytest.raises(Exception, match=words):
        register(spec)
    assert before == (OBJECTIVES, ENCODERS)


def test_component_that_fits_joins_the_union() -> None:
    register(Good)
    try:
        register(Good)  # the same class again is no fault
        adapter: TypeAdapter[ObjectiveSpec] = TypeAdapter(Annotated[ObjectiveSpec, OneOf(OBJECTIVES)])
        assert isinstance(adapter.validate_python({"kind": "good"}), Good)
    finally:
        del OBJECTIVES["good"]
