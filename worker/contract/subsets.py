"""Saved subsets of training samples, which never change, and the runs that a run derives from, as resources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from worker.contract.events import Record

SUBSET_FORMAT = 1


class Subset(Record):
    """A named list of training samples, and where it comes from."""

    format: int = SUBSET_FORMAT
    id: str
    name: str
    version: int = Field(ge=1, description="Of the subsets of that name, from 1.")
    created_at: datetime
    dataset_id: str
    store_digest: str = Field(description="Digest of the prepared store when the subset was saved.")
    run_id: str = Field(description="The run in whose samples they were chosen.")
    epoch: int = Field(description="Of that run, from 1.")
    filter: dict[str, Any] | None = Field(description="As in GET /runs/{id}/samples; null: chosen one by one.")
    num_samples: int
    class_counts: dict[str, int] = Field(description="class -> samples")
    digest: str = Field(description="Of the list of samples: other samples, other digest.")
    derived_runs: list[str] = Field(
        default_factory=list, description="Runs that train on it, oldest first; in GET /subsets/{id} alone."
    )


class Origin(Record):
    """A run that another run derives from."""

    run_id: str
    through: str = Field(description="start_from, subset, or the field of the method that names the run.")
    epoch: int | None = Field(None, description="Of that run, where one epoch was taken.")
    subset_id: str | None = None
    subset_name: str | None = None


def digest_of(sample_ids: Sequence[str]) -> str:
    """Returns the digest of a list of samples, whatever its order."""
    return hashlib.sha256(json.dumps(sorted(sample_ids)).encode()).hexdigest()[:16]
