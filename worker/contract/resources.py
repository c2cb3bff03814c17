"""Runs, datasets and the machine as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from worker.contract.errors import Problem
from worker.contract.events import Phase, Record, RunResult, SplitReport, Stage
from worker.contract.scores import JobState
from worker.contract.spec.run import RunSpec
from worker.contract.subsets import Origin

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
    features_digest: str | None = Field(None, description="Digest of precomputed features, where a run reads such.")
    device: str
    precision: Literal["fp32", "bf16"]
    memory_format: Literal["contiguous", "channels_last"]
    compiled: bool = Field(False, description="Whether torch compiles the encoders.")
    measured_step_s: dict[str, float] = Field(
        default_factory=dict,
        description="Seconds of a training step of each way to compute, where precision auto measured them (here or, "
        "of the same shape and machine, before).",
    )
    threads: int
    num_processes: int = Field(1, description="Processes of the run; they share the threads.")
    deterministic: bool
    warm_up_epochs: int | None = None
    subset_digest: str | None = Field(None, description="Digest of the run's copy of its subset.")
    start_epoch: int | None = Field(None, description="Epoch of the run whose weights this one starts from.")
    versions: dict[str, str]
    processor: str
    git_revision: str | None = None
    git_changed: bool | None = Field(
        None, description="Whether tracked files differed from that commit; null where it is no git checkout."
    )
    platform: dict[str, str] = Field(
        default_factory=dict,
        description="Kernels, CUDA, cuDNN and what of them is made deterministic, as torch tells it.",
    )


class RunSeries(Record):
    """A run's curves, thinned to a few dozen epochs: enough to draw a line as wide as a table's cell."""

    epochs: list[int]
    accuracy_fused: list[float | None] = Field(description="On validation, one an epoch.")
    mean_abs_gap: list[float | None] = Field(description="On validation, one an epoch; null without gaps.")


class Run(Record):
    """A run as the API shows it."""

    id: str
    name: str
    tags: list[str]
    notes: str = Field("", description="What people wrote about it.")
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
    derived_from: list[Origin] = Field(default_factory=list, description="The runs that this one builds on.")
    derived_runs: list[str] = Field(
        default_factory=list, description="Runs that build on this one, oldest first; in GET /runs/{id} alone."
    )
    samples_kept_every: int = Field(
        1,
        ge=1,
        description="Of the older epochs every k-th per-sample table is kept; 1: all. Those of the newest and "
        "of the chosen epoch always are.",
    )
    summary: SplitReport | None = None
    series: RunSeries | None = Field(None, description="In GET /runs?series=true alone.")
    result: RunResult | None = None
    error: Problem | None = None


class TrashedRun(Record):
    """A deleted run that can still be brought back."""

    id: str
    name: str
    tags: list[str] = Field(default_factory=list)
    objective: str | None = Field(None, description="Null where its spec cannot be read.")
    state: str | None = Field(None, description="How it had ended.")
    deleted_at: datetime
    empties_at: datetime = Field(description="When it is deleted for good, at the latest; sooner on a full disk.")
    num_bytes: int = Field(description="What deleting it for good frees.")


class FacetCount(Record):
    """A value that runs have, and how many have it."""

    value: str
    num_runs: int


class RunFacets(Record):
    """What runs can be filtered by: the values that there are, the most frequent first, at most 200 of each."""

    states: list[FacetCount]
    datasets: list[FacetCount]
    objectives: list[FacetCount]
    tags: list[FacetCount]


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


class MetricSummary(Record):
    """How one measure of quality is distributed over a dataset's clips."""

    metric: str
    title: str
    unit: str
    description: str
    num_clips: int = Field(description="Clips that have a value.")
    minimum: float
    maximum: float
    quantiles: dict[str, float] = Field(description="0.05, 0.25, 0.5, 0.75 and 0.95.")
    edges: list[float] = Field(
        description="Of the histogram's bins, between minimum and maximum; one bin if they are equal."
    )
    counts: list[int] = Field(description="Clips in each bin; the last bin is closed.")


class FlagCount(Record):
    """How many clips have a fault."""

    flag: str
    metric: str
    at_least: float = Field(description="The threshold.")
    text: str
    num_clips: int
    num_measured: int = Field(description="Clips that have a value of the metric.")
    splits: dict[str, int] = Field(description="split -> clips with the fault")


class Leak(Record):
    """Clips of one split whose content another split has too."""

    split: str
    other_split: str
    num_clips: int = Field(description="Clips of `split` that have the content of a clip of `other_split`.")
    num_clips_of_split: int
    text: str


class SameContent(Record):
    """Two clips of different splits with the same content."""

    sample_id: str
    split: str
    other_sample_id: str
    other_split: str


class DatasetQuality(Record):
    """What was measured of a dataset's clips at preparation."""

    metrics: list[MetricSummary]
    flags: list[FlagCount] = Field(description="All flags, those without clips too.")
    leaks: list[Leak] = Field(description="Empty where no content stands in two splits.")
    same_content: list[SameContent] = Field(description="The first 100 pairs across splits.")
    num_same_content_within: int = Field(description="Clips whose content an earlier clip of their own split has.")


class DatasetUpload(Record):
    """The zip from which a dataset's clips came; they lie in the home and are deleted with the dataset."""

    filename: str = Field(description="As the browser named it.")
    digest: str = Field(description="Of all names and contents: equal clips are kept once.")
    num_files: int
    num_bytes: int = Field(description="Unpacked; what another dataset shares takes no space again.")


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
    left_out: dict[str, int] = Field(
        default_factory=dict,
        description="In GET /datasets/{id} alone: code -> clips that were left out for it, such as media-no-audio.",
    )
    warnings: list[str] = Field(
        default_factory=list, description="What the import check has to say, such as clips whose files are missing."
    )
    store_bytes: int | None = None
    shared: bool = Field(False, description="Another dataset of the same clips and preprocessing shares the store.")
    changed: bool = Field(
        False,
        description="The files behind it changed since they were prepared: POST /datasets/{id}/prepare takes them in.",
    )
    upload: DatasetUpload | None = Field(None, description="Null where the clips lie in a folder of the user's.")
    num_runs: int = Field(0, ge=0, description="Runs on it, ended ones too; 0: it may be deleted without a loss.")
    active_runs: list[str] = Field(default_factory=list, description="Runs that need it now: it cannot be deleted.")
    quality: DatasetQuality | None = Field(
        None, description="In GET /datasets/{id} alone; null for a store of format 1, which has no measures."
    )
    error: Problem | None = None


SHOWN_CLASSES = 30
SHOWN_LEFT_OUT = 50


class DatasetCheck(Record):
    """What a dataset would be made of: its clips are listed, and a few looked into; nothing is registered."""

    num_clips: int = Field(0, description="Whose files are there.")
    num_classes: int = 0
    splits: dict[str, int] = Field(default_factory=dict, description="split -> clips, as they would be cut.")
    largest_classes: dict[str, int] = Field(default_factory=dict, description="class -> clips, the 30 largest.")
    num_left_out: int = Field(0, description="Missing files, files that are no clips.")
    left_out: list[SkippedClip] = Field(default_factory=list, description="The first 50, with the reason.")
    left_out_by_code: dict[str, int] = Field(default_factory=dict, description="code -> clips")
    warnings: list[str] = Field(default_factory=list, description="What preparation would warn of.")
    store_bytes: int | None = Field(None, description="What the prepared store would take at most.")
    free_bytes: int | None = Field(None, description="Free for new work.")
    problem: Problem | None = Field(None, description="Why it could not be prepared, and what is expected where.")


class RunEstimate(Record):
    """What a run will take on the disk, before it is launched."""

    dataset_id: str
    num_clips: int | None = Field(None, description="Roughly, until the dataset is prepared; null: not known yet.")
    is_prepared: bool
    changed: bool = Field(False, description="The files behind the prepared dataset changed since.")
    store_bytes: int | None = Field(None, description="Still to be written by preparation; null: not known yet.")
    run_bytes: int = Field(description="Checkpoints and per-sample tables, at most.")
    free_bytes: int = Field(description="Free for new work.")
    fits: bool
    seconds: float | None = Field(None, description="From its start to its end; null while nothing like it has run.")
    seconds_basis: str | None = Field(None, description="What that follows from.")
    least_memory_bytes: int | None = Field(
        None,
        description="Weights, gradients, optimizer state and one batch, roughly; what the layers keep for the backward "
        "pass comes on top.",
    )

    memory_bytes: int | None = Field(
        None,
        description="Of the GPU that it would run on, else of the machine; null where no worker says.",
    )

    def line(self) -> str:
        """Returns the estimate in one line."""
        store = "already prepared" if self.is_prepared else "of unknown size"
        if not self.is_prepared and self.store_bytes is not None:
            store = f"about {_size(self.store_bytes)}"
        changed = " Its files changed since it was prepared." if self.changed else ""
        verdict = "" if self.fits else " It does not fit."
        return (
            f"Disk: the dataset is {store}, the run takes up to {_size(self.run_bytes)}; {_size(self.free_bytes)} are "
            f"free.{verdict}{changed}"
        )


def _size(number: int) -> str:
    """Returns bytes in decimal units, as the pages show them."""
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.0f} MB"


class ExportSize(Record):
    """How large a table of a run is as a file."""

    num_rows: int
    csv_bytes: int
    parquet_bytes: int
    exact: bool = Field(description="Whether the bytes were counted; else they follow from the first rows.")


class DatasetSample(Record):
    """One clip of a prepared dataset."""

    sample_id: str
    label: str
    split: str
    duration_s: float | None
    notes: dict[str, str]
    media: dict[str, str] = Field(default_factory=dict, description="Addresses of video and separate audio.")
    quality: dict[str, float | None] = Field(
        default_factory=dict, description="Measures, and facts such as width and height; null where there is none."
    )


class DamagedFolder(Record):
    """A folder of the home that is set apart: damaged, unreadable, or none of ours. It is left where it is."""

    kind: str = Field(description="run, dataset, score, batch or subset: whose folder it lies in.")
    id: str = Field(description="Its name; empty where that whole folder cannot be read.")
    path: str = Field(description="What cannot be read.")
    reason: str
    remedy: str = Field(description="What to do; then restart Gapscope.")
    is_shown: bool = Field(description="Whether it is listed all the same: what is damaged is one part of it.")


class FailedRun(Record):
    """A run that failed lately."""

    id: str
    name: str
    failed_at: datetime
    error: Problem | None = None


class Webhook(Record):
    """An address that is told when runs end, and what became of the last messages to it."""

    address: str = Field(description="Without what may be secret in it.")
    waiting: int = Field(description="Messages that still have to be sent.")
    delivered_at: datetime | None = None
    delivered: str | None = Field(None, description="What was told last, such as run.finished.")
    failed_at: datetime | None = None
    failure: str | None = Field(None, description="Why the last message that failed did.")


class Beat(BaseModel):
    """What a worker says of itself every second, under a key that expires."""

    name: str
    queue: str
    pid: int
    host: str
    devices: list[str]
    device_memory_bytes: int | None = Field(None, description="Of the smallest of its GPUs; null on a CPU.")
    resident_bytes: int
    busy_with: str | None = None
    started_at: datetime
    versions: dict[str, str] = Field(default_factory=dict)
