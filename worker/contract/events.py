"""What training says: the events of a run and the reports inside them.

The same types go from the training loop to the archive, to Redis, to the API and to the browser. An event is at most
16 KiB: histograms and mixture parameters travel, rows for each sample do not (see scores.SampleRow).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from worker.contract.errors import Problem

EVENT_FORMAT = 1
MAX_EVENT_BYTES = 16 * 1024
NUM_BINS = 80

Stage = Literal["single", "warm-up", "adaptive", "purification"]
Phase = Literal["waiting", "preparing", "training", "evaluating", "analysing", "saving"]
UnimodalSource = Literal["head", "probe", "solo"]
Verdict = Literal["bimodal", "unimodal", "three components", "degenerate"]
Role = Literal["balanced", "imbalanced", "audio_dominant", "visual_dominant"]


class Record(BaseModel):
    """A value that was measured: unknown fields are refused, so that a misspelt name cannot pass."""

    model_config = ConfigDict(extra="forbid")


class ByModality(Record):
    """A figure for the fused prediction and for each modality's own; null where the run has no such branch."""

    fused: float | None
    audio: float | None
    visual: float | None


class GradientShare(Record):
    """Shares of the squared gradient norm; they add up to 1."""

    audio: float
    visual: float
    fusion: float


class Histogram(Record):
    """Score gaps counted in 80 equal bins over [-1, 1]; the last bin is closed. Every sample is counted."""

    edges: list[float] = Field(min_length=NUM_BINS + 1, max_length=NUM_BINS + 1)
    counts: list[int] = Field(min_length=NUM_BINS, max_length=NUM_BINS)


class Correctness(Record):
    """Samples by size of their gap crossed with being right: a gap near 0 also means that both are wrong."""

    similar_right: int
    similar_wrong: int
    audio_dominant: int
    visual_dominant: int


class Component(Record):
    """One Gaussian of a mixture of score gaps."""

    role: Role
    weight: float
    mean: float
    variance: float


class Mixture(Record):
    """A fitted mixture and the test whether it may be read as two modes."""

    components: list[Component]
    bic: dict[Literal["1", "2", "3"], float]
    ashman_d: float
    num_modes: int
    bimodal: bool
    converged: bool
    identity_swapped: bool = False
    verdict: Verdict


class Cost(Record):
    """What training an epoch took, counted in batches (evaluation at its end not counted) and in clips."""

    samples: int = Field(ge=0, description="Clips trained on; one that was visited twice counts twice.")
    forward_passes: int = Field(ge=0, description="Batches through a model's encoders, teachers and planning included.")
    backward_passes: int = Field(ge=0, description="Batches backward.")
    optimizer_steps: int = Field(ge=0)


class SplitReport(Record):
    """What one split looked like at the end of an epoch. `mixture` is this split's own fit, for reading."""

    num_samples: int
    unimodal_source: UnimodalSource
    accuracy: ByModality
    macro_f1: ByModality
    expected_calibration_error: ByModality
    mean_gap: float | None
    mean_abs_gap: float | None
    histogram: Histogram | None
    correctness: Correctness | None
    mixture: Mixture | None
    signed_mixture: Mixture | None
    cross_entropy: ByModality | None = Field(None, description="Mean of -log p(true class), nats.")


class TestAt(Record):
    """The test split at one epoch."""

    __test__ = False  # not a pytest class

    epoch: int
    test: SplitReport | None


class ChosenTest(TestAt):
    """The test split at the epoch that validation chose (or, under protocol paper, the best on test)."""

    by: Literal["validation", "test (optimistic)", "last"]


class Probes(Record):
    """Accuracy of a logistic regression on each encoder's frozen features, training to validation."""

    audio: float | None
    visual: float | None


class RunResult(Record):
    """What is known when a run ended."""

    last: TestAt
    chosen: ChosenTest
    probes: Probes
    stopped_early: bool = Field(False, description="The run ended before its last epoch, by its early_stopping.")


class EventBase(Record):
    """What every event carries. The journal stamps it: until then `seq` is 0."""

    seq: int = Field(0, ge=0, description="1 for a run's first event, then rising by one without a hole.")
    run_id: str = ""
    attempt: int = Field(0, ge=0)
    time: datetime | None = None
    format: int = EVENT_FORMAT


class RunStarted(EventBase):
    """The first attempt of a run began."""

    type: Literal["run_started"] = "run_started"
    epochs: int
    num_train: int
    num_validation: int
    num_test: int
    classes: list[str] = Field(max_length=10_000)
    device: str


class EpochFinished(EventBase):
    """An epoch was computed, committed and will never be computed again."""

    type: Literal["epoch_finished"] = "epoch_finished"
    epoch: int = Field(ge=1)
    stage: Stage
    seconds: float
    samples_per_s: float
    learning_rate: float
    loss_terms: dict[str, float]
    gradient_share: GradientShare
    method: dict[str, float | str | bool | None]
    cost: Cost | None = None
    train: SplitReport
    validation: SplitReport
    test: SplitReport | None = None


class RunInterrupted(EventBase):
    """An attempt ended before the run did; the run is queued again."""

    type: Literal["run_interrupted"] = "run_interrupted"
    reason: str
    epoch: int = Field(ge=0, description="Epochs that are finished and kept.")


class RunResumed(EventBase):
    """A later attempt took the run up after its last finished epoch."""

    type: Literal["run_resumed"] = "run_resumed"
    epoch: int = Field(ge=0, description="Epochs that are finished and kept.")
    differences: list[str] = Field(
        default_factory=list,
        description="What is other here than where the run began, such as its processor: then it need not go on to "
        "the same bits.",
    )


class RunFinished(EventBase):
    """The run is complete."""

    type: Literal["run_finished"] = "run_finished"
    result: RunResult


class RunFailed(EventBase):
    """The run cannot go on; its last good checkpoint stays."""

    type: Literal["run_failed"] = "run_failed"
    error: Problem


class RunCancelled(EventBase):
    """Someone asked for the run to end."""

    type: Literal["run_cancelled"] = "run_cancelled"
    epoch: int = Field(ge=0, description="Epochs that are finished and kept.")


Event = Annotated[
    RunStarted | EpochFinished | RunInterrupted | RunResumed | RunFinished | RunFailed | RunCancelled,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def parse_event(text: str | bytes) -> Event:
    """Returns the event that a line of events.jsonl or an entry of the stream holds.

    Raises:
        ValueError: when the text is no event, or of a format that this version cannot read.
    """
    event = EVENT.validate_json(text)
    if event.format not in (EVENT_FORMAT, EVENT_FORMAT - 1):
        raise ValueError(f"event format {event.format}; this version reads {EVENT_FORMAT} and {EVENT_FORMAT - 1}")
    return event
