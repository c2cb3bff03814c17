"""The base of every spec: what users choose, as strict pydantic models.

A spec is the REST schema, the launch form and the documentation at once, so every field has bounds, a unit and a
description. Specs are torch-free: the backend and the frontend read them; only the worker imports what they name.
"""

from __future__ import annotations

import hashlib
import json
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class MisfitError(ValueError):
    """Settings that do not go together, with the field to change first: an answer can stand beside it."""

    def __init__(self, field: str, message: str) -> None:
        """Keeps the field's place.

        Args:
            field: dotted path from the model whose validator raises; of `check_epochs` and `check_encoder` from the
                run's spec, which calls them.
            message: what does not go together, and what to change.
        """
        super().__init__(message)
        self.field = field


class Spec(BaseModel):
    """Something that a user chooses: unknown fields are refused, values cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def canonical_json(self) -> str:
        """Returns the spec as JSON with sorted keys: equal specs give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def digest(self, *, exclude: frozenset[str] = frozenset()) -> str:
        """Returns the first 12 hexadecimal digits of the SHA-256 of the spec, without the fields in `exclude`."""
        fields = self.model_dump(mode="json", exclude=set(exclude))
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class Component(Spec):
    """A choosable part (dataset, encoder, fusion, objective, ...): a `kind` and the class that implements it."""

    kind: str
    title: ClassVar[str]
    summary: ClassVar[str]
    implementation: ClassVar[str]
    """`package.module:Class`, imported by the worker alone."""
    evidence: ClassVar[str] = "formula tested"
    """"formula tested" or "number reproduced": what stands behind the implementation."""
