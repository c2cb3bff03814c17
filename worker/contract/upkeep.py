"""How a home is kept within its limits, as the API shows it: what is used, and what was deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from worker.contract.events import Record

Unit = Literal["number", "bytes"]


class LimitUse(Record):
    """A limit, and how much of it is used."""

    name: str
    title: str
    used: int = Field(ge=0)
    limit: int | None = Field(description="null: none is set.")
    unit: Unit
    refuses: bool = Field(description="Beyond it new ones are refused; false: the oldest are deleted.")
    setting: str = Field(description="The environment variable that sets it.")


class SweptPart(Record):
    """What was deleted of one kind of things since the backend started."""

    name: str = Field(description="trash, scores, batches, derived, stores or leftovers (of uploads).")
    number: int
    freed_bytes: int


class SweepFacts(Record):
    """What the backend deleted by itself, since it started: too old, too many, too large, or left over."""

    swept_at: datetime | None = Field(description="When it last looked; null: not yet.")
    freed_at: datetime | None = Field(description="When it last deleted something.")
    freed_bytes: int
    parts: list[SweptPart]
