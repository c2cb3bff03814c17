"""Runs, datasets and the machine as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from worker.contract.errors import Problem
from worker.contract.events import Phase, Record, RunResult, SplitReport, Stage
from worker.contract.scores import JobState
from worker.contract.spec.run import RunSpec

DatasetState = Literal["queued", "preparing", "ready", "failed", "cancelled"]


class RunProgress(Record):
    """How far a run is. State, not history: the last value counts."""

    epoch: int = Field(0, ge=0, description="Finished epochs; never falls.")
    epochs: int = Field(ge=1)
    stage: Stage = "single"
    phase: Phase = "waiting"
    fraction: float = Field(0.0, ge=0.0, le=1.0, description="Of the whole run.")
    eta_s: float | None = None
    samples_per_s: float | None = None


class ResolvedSpec(Record):
    """What a run really uses, fixed at its first claim and used again by every resume."""

    format: int = 1
    dataset_id: str
    store_digest: str = Field(description="Digest of the prepared store: other data, other digest.")
    device: str
    precision: Literal["fp32", "bf16"]
    memory_format: Literal["contiguous", "channels_last"]
    threads: int
    deterministic: bool
    warm_up_epochs: int | None = None
    versions: dict[str, str]
    processor: str
    git_revision: str | None = None


class Run(Record):
    """A run as the API shows it."""

    id: str
    name: str
    tags: list[str]
    state: JobState
    waiting_for: str | None = None
    attempt: int
    spec: RunSpec
    resolved_spec: ResolvedSpec | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    queue_position: int | None = None
    progress: RunProgress
    summary: SplitReport | None = None
    result: RunResult | None = None
    error: Problem | None = None


class PrepareProgress(Record):
    """How far a preparation is."""

    done: int = Field(0, ge=0)
    total: int = Field(0, ge=0, description="0 while the clips are being listed.")
    skipped: int = Field(0, ge=0)
    fraction: float = Field(0.0, ge=0.0, le=1.0)
    eta_s: float | None = None
    clips_per_s: float | None = None


class SkippedClip(Record):
    """A clip that preparation left out, and why."""

    sample_id: str
    path: str
    code: str
    reason: str


class Dataset(Record):
    """A registered dataset as the API shows it."""

    id: str
    kind: str
    state: DatasetState
    spec: dict[str, object]
    created_at: datetime
    progress: PrepareProgress
    num_samples: int | None = None
    num_classes: int | None = None
    classes: list[str] | None = None
    splits: dict[str, int] = Field(default_factory=dict)
    class_counts: dict[str, dict[str, int]] = Field(default_factory=dict, description="split -> class -> clips")
    num_skipped: int | None = None
    skipped: list[SkippedClip] = Field(default_factory=list, description="The first 100.")
    store_bytes: int | None = None
    error: Problem | None = None


class DatasetSample(Record):
    """One clip of a prepared dataset."""

    sample_id: str
    label: str
    split: str
    duration_s: float | None
    notes: dict[str, str]
    media: dict[str, str] = Field(default_factory=dict, description="Addresses of video and separate audio.")


class Beat(BaseModel):
    """What a worker says of itself every second, under a key that expires."""

    name: str
    queue: str
    pid: int
    host: str
    devices: list[str]
    device_memory_bytes: int | None = None
    resident_bytes: int
    busy_with: str | None = None
    started_at: datetime
    versions: dict[str, str] = Field(default_factory=dict)
