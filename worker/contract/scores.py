"""What is known of single samples: rows of the per-epoch tables, and the scores of uploaded clips."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from worker.contract.errors import InvalidRequestError, Problem
from worker.contract.events import Record
from worker.contract.spec.registry import ENCODERS

ID_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
MIN_HOP_S, MAX_HOP_S = 0.05, 600.0
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
    tags: list[str] = Field(default_factory=list, description="Given by people; see GET /datasets/{id}/annotations.")
    gap_before: float | None = Field(None, description="The gap at the epoch `since`, where that is asked.")
    fused_was_correct: bool | None = Field(None, description="Whether the fused prediction was right then.")


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
    posterior_imbalanced: float | None = None


class GapInTraining(Record):
    """Where a gap lies among those of the training split at the epoch of the model."""

    outside: bool = Field(description="No training clip had a gap so low, or so high.")
    min: float
    max: float
    quantile: float = Field(ge=0.0, le=1.0, description="Share of the training gaps that are not above this one.")


class ScoreResult(Record):
    """What a run's model says of an uploaded clip."""

    probabilities: DistributionByModality
    predicted: ClassByModality
    gap: float | None
    gap_of: Literal["label", "fused prediction"] | None
    posterior_imbalanced: float | None
    posterior_reason: str | None = Field(description="Why there is no posterior, where there is none.")
    opposite_tail: bool | None = Field(
        None, description="The gap is wider than the imbalanced group's mean, yet its posterior is below one half."
    )
    gap_in_training: GapInTraining | None = Field(None, description="Null without a gap.")
    modalities_present: list[Literal["audio", "visual"]]
    padded: bool = Field(description="The clip was shorter than the window: audio tiled, frames spread.")
    notes: list[str] = Field(default_factory=list)
    windows: list[WindowScore] = Field(default_factory=list, description="Over the clip, in order of time.")
    knock_outs: dict[str, DistributionByModality] = Field(
        default_factory=dict,
        description="Probabilities with silence for the sound (mute), the first frame for all (freeze), no picture "
        "(black).",
    )
    knock_out_changes: dict[str, DistributionByModality] = Field(
        default_factory=dict, description="By how much each probability changes: knocked out minus as it is."
    )
    timing_s: dict[str, float]


class Score(Record):
    """An uploaded clip and, in time, its scores."""

    id: str
    state: JobState
    run_id: str
    epoch: int | None = None
    label: str | None = None
    filename: str
    dataset_id: str | None = Field(None, description="Where the clip is one of a dataset.")
    sample_id: str | None = None
    created_at: datetime
    finished_at: datetime | None = None
    media: dict[str, str] = Field(default_factory=dict, description="Addresses of the uploaded files.")
    result: ScoreResult | None = None
    error: Problem | None = None


class ScoreSummary(Record):
    """A score in a list: what one reads at a glance; GET /scores/{id} has all of it."""

    id: str
    state: JobState
    run_id: str
    epoch: int | None = None
    label: str | None = None
    filename: str
    dataset_id: str | None = None
    sample_id: str | None = None
    created_at: datetime
    finished_at: datetime | None = None
    predicted: ClassByModality | None = Field(None, description="Null until it is finished.")
    p_predicted: ProbabilityByModality | None = Field(None, description="Of each branch's own prediction.")
    gap: float | None = None
    gap_of: Literal["label", "fused prediction"] | None = None
    posterior_imbalanced: float | None = None
    outside_training: bool | None = Field(None, description="Whether no training clip had such a gap.")
    modalities_present: list[Literal["audio", "visual"]] = Field(default_factory=list)
    error: Problem | None = None


class SampleToScore(Record):
    """A clip of a dataset that a run's model shall score; nothing is uploaded."""

    run_id: str = Field(pattern=ID_PATTERN, description="Whose model scores it.")
    dataset_id: str = Field(pattern=ID_PATTERN, description="Of the prepared dataset.")
    sample_id: str = Field(min_length=1, max_length=400, description="Of its clip.")
    label: str | None = Field(None, max_length=200, description="By default the clip's own, where the run knows it.")
    window_hop_s: float | None = Field(
        None, ge=MIN_HOP_S, le=MAX_HOP_S, description="Seconds between windows over time; half a window by default."
    )


class ScoreRequest(Record):
    """What the worker needs to know to score an upload: the file `request.json` of the score's folder."""

    format: int = 1
    id: str
    run_id: str
    filename: str
    file: str
    audio_file: str | None = None
    label: str | None = None
    window_hop_s: float | None = None
    start_s: float | None = Field(None, description="Part of the clip to use, where not all of it.")
    end_s: float | None = None
    dataset_id: str | None = Field(None, description="Where the clip is one of a dataset.")
    sample_id: str | None = None
    created_at: datetime
    owner: str = Field("", description="Who asked for it; empty: not known.")
    extra: dict[str, Any] = Field(default_factory=dict)


def require_clips(encoder_kind: str) -> None:
    """Returns nothing where a run can score an uploaded clip.

    Args:
        encoder_kind: of the run's encoder.

    Raises:
        InvalidRequestError: it reads precomputed features, of which a clip has none (code run-reads-features).
    """
    encoder = ENCODERS.get(encoder_kind)
    if encoder is not None and encoder.reads != "clips":
        raise InvalidRequestError(
            f"The run's encoder {encoder_kind!r} reads precomputed {encoder.reads}, an uploaded clip has none: choose "
            "a run whose encoder reads clips.",
            code="run-reads-features",
        )
