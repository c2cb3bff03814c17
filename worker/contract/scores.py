"""What is known of single samples: rows of the per-epoch tables, and the scores of uploaded clips."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from worker.contract.errors import Problem
from worker.contract.events import Record

JobState = Literal["queued", "running", "cancelling", "cancelled", "finished", "failed", "lost"]


class ClassByModality(Record):
    """A class name for the fused prediction and for each modality's own."""

    fused: str | None
    audio: str | None
    visual: str | None


class ProbabilityByModality(Record):
    """A probability for the fused prediction and for each modality's own."""

    fused: float | None
    audio: float | None
    visual: float | None


class SampleRow(Record):
    """One sample at one epoch."""

    sample_id: str
    split: str
    label: str
    epoch: int
    gap: float | None = Field(description="Softmax score of the true class by audio minus by visual.")
    posterior_imbalanced: float | None = Field(
        description="Probability of the dominant group by the training mixture at the end of this epoch."
    )
    loss_weight: float = Field(description="Factor on the fused cross-entropy in this epoch; 1 where there is none.")
    p_true: ProbabilityByModality
    predicted: ClassByModality
    quality: dict[str, float | None]
    notes: dict[str, str]


class DistributionByModality(Record):
    """Class probabilities by modality; null for a modality that the clip does not have."""

    fused: dict[str, float] | None
    audio: dict[str, float] | None
    visual: dict[str, float] | None


class WindowScore(Record):
    """The scores of one window of a clip that is longer than the model's window."""

    start_s: float
    end_s: float
    probabilities: DistributionByModality
    gap: float | None


class ScoreResult(Record):
    """What a run's model says of an uploaded clip."""

    probabilities: DistributionByModality
    predicted: ClassByModality
    gap: float | None
    gap_of: Literal["label", "fused prediction"] | None
    posterior_imbalanced: float | None
    posterior_reason: str | None = Field(description="Why there is no posterior, where there is none.")
    modalities_present: list[Literal["audio", "visual"]]
    padded: bool = Field(description="The clip was shorter than the window: audio tiled, frames spread.")
    notes: list[str] = Field(default_factory=list)
    windows: list[WindowScore] = Field(default_factory=list)
    knock_outs: dict[str, DistributionByModality] = Field(default_factory=dict)
    timing_s: dict[str, float]


class Score(Record):
    """An uploaded clip and, in time, its scores."""

    id: str
    state: JobState
    run_id: str
    epoch: int | None = None
    label: str | None = None
    filename: str
    created_at: datetime
    finished_at: datetime | None = None
    media: dict[str, str] = Field(default_factory=dict, description="Addresses of the uploaded files.")
    result: ScoreResult | None = None
    error: Problem | None = None


class ScoreRequest(Record):
    """What the worker needs to know to score an upload: the file `request.json` of the score's folder."""

    format: int = 1
    id: str
    run_id: str
    filename: str
    file: str
    audio_file: str | None = None
    label: str | None = None
    created_at: datetime
    extra: dict[str, Any] = Field(default_factory=dict)
