"""A recorded API: contract objects made by hand, and a client that answers from them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from frontend.client import Page, UnreachableError
from worker.contract.annotations import AnnotationsChanged, AnnotationSummary, TagCount
from worker.contract.clip_contents import ClipContents, SpectrogramView, WaveformView
from worker.contract.errors import (
    ConflictError,
    FieldProblem,
    GapscopeError,
    InvalidRequestError,
    NotFoundError,
    Problem,
)
from worker.contract.events import (
    ByModality,
    ChosenTest,
    Component,
    Correctness,
    EpochFinished,
    Event,
    GradientShare,
    Histogram,
    Mixture,
    Probes,
    RunFinished,
    RunResult,
    RunStarted,
    SplitReport,
    TestAt,
)
from worker.contract.resources import (
    Dataset,
    DatasetQuality,
    DatasetSample,
    ExportSize,
    FacetCount,
    FlagCount,
    Leak,
    MetricSummary,
    PrepareProgress,
    Run,
    RunEstimate,
    RunFacets,
    RunProgress,
    SameContent,
    SkippedClip,
    TrashedRun,
)
from worker.contract.score_batches import BatchProgress, ScoreBatch
from worker.contract.scores import (
    ClassByModality,
    DistributionByModality,
    GapInTraining,
    ProbabilityByModality,
    SampleRow,
    Score,
    ScoreResult,
    ScoreSummary,
)
from worker.contract.spec import PRESETS, RunSpec
from worker.contract.spec.registry import DATASETS, ENCODERS, FUSIONS, OBJECTIVES, OPTIMIZERS, SCHEDULES
from worker.contract.subsets import Subset

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
CLASSES = ["cat", "dog"]
EDGES = [-1 + 2 * step / 80 for step in range(81)]


def mixture(**changes: Any) -> Mixture:
    """Returns a mixture of two well-told-apart Gaussians."""
    values: dict[str, Any] = {
        "components": [
            Component(role="balanced", weight=0.75, mean=0.0, variance=0.01),
            Component(role="imbalanced", weight=0.25, mean=-0.7, variance=0.02),
        ],
        "bic": {"1": 300.0, "2": 100.0, "3": 120.0},
        "ashman_d": 5.7,
        "num_modes": 2,
        "bimodal": True,
        "converged": True,
        "verdict": "bimodal",
    }
    return Mixture(**(values | changes))


def report(
    *,
    fused: float = 0.9,
    audio: float | None = 0.6,
    visual: float | None = 0.85,
    gap: float | None = 0.4,
    groups: tuple[int, int, int, int] = (60, 10, 20, 110),
    source: str = "head",
) -> SplitReport:
    """Returns the report of a split of sum(groups) samples; groups: similar right, similar wrong, audio, visual."""
    num_samples = sum(groups)
    counts = [0] * 80
    counts[0], counts[40] = groups[3], num_samples - groups[3]
    names = ("similar_right", "similar_wrong", "audio_dominant", "visual_dominant")
    solo = gap is None
    values = ByModality(fused=fused, audio=audio, visual=visual)
    return SplitReport(
        num_samples=num_samples,
        unimodal_source=source,
        accuracy=values,
        macro_f1=values,
        expected_calibration_error=values,
        mean_gap=None if gap is None else -gap / 2,
        mean_abs_gap=gap,
        histogram=None if solo else Histogram(edges=EDGES, counts=counts),
        correctness=None if solo else Correctness(**dict(zip(names, groups, strict=True))),
        mixture=None if solo else mixture(),
        signed_mixture=None,
    )


def epoch(number: int, stage: str = "adaptive", seq: int | None = None, **validation: Any) -> EpochFinished:
    """Returns the event of an epoch; its `seq` follows a run_started."""
    return EpochFinished(
        seq=number + 1 if seq is None else seq,
        run_id="run-1",
        attempt=1,
        time=NOW,
        epoch=number,
        stage=stage,
        seconds=2.0,
        samples_per_s=400.0,
        learning_rate=1e-3,
        loss_terms={"fused": 0.5},
        gradient_share=GradientShare(audio=0.3, visual=0.4, fusion=0.3),
        method={},
        train=report(**validation),
        validation=report(**validation),
    )


def started(epochs: int = 4) -> RunStarted:
    """Returns a run's first event."""
    return RunStarted(
        seq=1, run_id="run-1", attempt=1, time=NOW, epochs=epochs, num_train=400, num_validation=200, num_test=0,
        classes=CLASSES, device="cpu",
    )  # fmt: skip


def result() -> RunResult:
    """Returns the result of a run."""
    return RunResult(
        last=TestAt(epoch=4, test=report(fused=0.91)),
        chosen=ChosenTest(epoch=3, by="validation", test=report(fused=0.93)),
        probes=Probes(audio=0.61, visual=0.88),
    )


def events() -> list[Event]:
    """Returns the events of a finished run of two warm-up and two adaptive epochs."""
    return [
        started(),
        epoch(1, "warm-up", visual=0.5, audio=0.3, gap=0.2),
        epoch(2, "warm-up", visual=0.9, audio=0.5, gap=0.5),
        epoch(3, visual=0.85, audio=0.55, gap=0.4),
        epoch(4, visual=0.8, audio=0.6, gap=0.3),
        RunFinished(seq=6, run_id="run-1", attempt=1, time=NOW, result=result()),
    ]


def run(run_id: str = "run-1", **changes: Any) -> Run:
    """Returns a finished run; `changes` replace its fields."""
    spec: RunSpec = PRESETS[0].spec.model_copy(update={"epochs": 4, "name": "adaptive", "tags": ("demo",)})
    values: dict[str, Any] = {
        "id": run_id,
        "name": "adaptive",
        "tags": ["demo"],
        "state": "finished",
        "attempt": 1,
        "spec": spec,
        "created_at": NOW,
        "started_at": NOW,
        "finished_at": NOW + timedelta(seconds=80),
        "progress": RunProgress(epoch=4, epochs=4, stage="adaptive", phase="waiting", fraction=1.0),
        "summary": report(),
        "result": result(),
    }
    return Run(**(values | changes))


def trashed(**changes: Any) -> TrashedRun:
    """Returns a deleted run; `changes` replace its fields."""
    values: dict[str, Any] = {
        "id": "run-0",
        "name": "thrown away",
        "objective": "joint",
        "state": "failed",
        "deleted_at": NOW,
        "empties_at": NOW + timedelta(hours=24),
        "num_bytes": 12_300_000,
    }
    return TrashedRun(**(values | changes))


def row(sample_id: str = "clip-1", epoch: int = 4, gap: float | None = -0.7, label: str = "cat") -> SampleRow:
    """Returns a sample that visual has right and audio has wrong."""
    return SampleRow(
        sample_id=sample_id, split="validation", label=label, epoch=epoch, gap=gap, posterior_imbalanced=0.93,
        loss_weight=1.0, p_true=ProbabilityByModality(fused=0.8, audio=0.2, visual=0.9),
        predicted=ClassByModality(fused="cat", audio="dog", visual="cat"),
        quality={"silence_share": 0.95, "loudness_dbfs": -62.0, "width": 480},
        notes={"corrupted": "audio"},
    )  # fmt: skip


def subset(**changes: Any) -> Subset:
    """Returns a subset of a run's training clips; `changes` replace its fields."""
    values: dict[str, Any] = {
        "id": "subset-1-a",
        "name": "similar",
        "version": 1,
        "created_at": NOW,
        "dataset_id": "folder-1",
        "store_digest": "0" * 16,
        "run_id": "run-1",
        "epoch": 4,
        "filter": {},
        "num_samples": 120,
        "class_counts": {"cat": 70, "dog": 50},
        "digest": "1" * 16,
    }
    return Subset(**(values | changes))


def dataset(**changes: Any) -> Dataset:
    """Returns a dataset that is ready; `changes` replace its fields."""
    values: dict[str, Any] = {
        "id": "folder-1",
        "kind": "folder",
        "state": "ready",
        "spec": {"kind": "folder", "path": "/data"},
        "created_at": NOW,
        "progress": PrepareProgress(done=400, total=401, skipped=1, fraction=1.0),
        "num_samples": 400,
        "num_classes": 2,
        "classes": CLASSES,
        "splits": {"train": 200, "validation": 100, "test": 100},
        "class_counts": {"train": {"cat": 120, "dog": 80}, "validation": {"cat": 50, "dog": 50}},
        "num_skipped": 1,
        "store_bytes": 12_300_000,
    }
    return Dataset(**(values | changes))


def dataset_quality(*, leak: bool = True) -> DatasetQuality:
    """Returns the quality of a dataset with two silent clips and, if wanted, a test clip that training has too."""
    loudness = MetricSummary(
        metric="loudness_dbfs",
        title="Loudness",
        unit="dBFS",
        description="Root mean square.",
        num_clips=400,
        minimum=-60.0,
        maximum=-20.0,
        quantiles={"0.05": -55.0, "0.25": -30.0, "0.5": -25.0, "0.75": -23.0, "0.95": -21.0},
        edges=[-60.0 + 2 * k for k in range(21)],
        counts=[20] * 20,
    )
    silent = FlagCount(
        flag="silent",
        metric="silence_share",
        at_least=0.9,
        text="2 of 400 clips are silent.",
        num_clips=2,
        num_measured=400,
        splits={"train": 2},
    )
    text = "1 of 100 test clips have the same content as training clips."
    leaks = [Leak(split="test", other_split="train", num_clips=1, num_clips_of_split=100, text=text)]
    pairs = [SameContent(sample_id="clip-9", split="test", other_sample_id="clip-1", other_split="train")]
    return DatasetQuality(
        metrics=[loudness],
        flags=[silent],
        leaks=leaks if leak else [],
        same_content=pairs if leak else [],
        num_same_content_within=3,
    )


def score_result(**changes: Any) -> ScoreResult:
    """Returns the scores of a clip whose picture says cat and whose sound says dog."""
    values: dict[str, Any] = {
        "probabilities": DistributionByModality(
            fused={"cat": 0.8, "dog": 0.2}, audio={"cat": 0.3, "dog": 0.7}, visual={"cat": 0.95, "dog": 0.05}
        ),
        "predicted": ClassByModality(fused="cat", audio="dog", visual="cat"),
        "gap": -0.65,
        "gap_of": "fused prediction",
        "posterior_imbalanced": 0.9,
        "posterior_reason": None,
        "opposite_tail": False,
        "gap_in_training": GapInTraining(outside=False, min=-0.9, max=0.8, quantile=0.2),
        "modalities_present": ["audio", "visual"],
        "padded": False,
        "knock_out_changes": {
            "mute": DistributionByModality(
                fused={"cat": 0.1, "dog": -0.1}, audio={"cat": -0.2, "dog": 0.2}, visual={"cat": 0.0, "dog": 0.0}
            ),
        },
        "knock_outs": {
            "mute": DistributionByModality(fused={"cat": 0.9, "dog": 0.1}, audio=None, visual=None),
            "black": DistributionByModality(fused={"cat": 0.3, "dog": 0.7}, audio=None, visual=None),
        },
        "timing_s": {"total": 0.2},
    }
    return ScoreResult(**(values | changes))


def score_batch(**changes: Any) -> ScoreBatch:
    """Returns a finished batch of which one clip has no scores."""
    values: dict[str, Any] = {
        "id": "batch-1",
        "state": "finished",
        "run_id": "run-1",
        "path": "/data/new",
        "epoch": 4,
        "format": "csv",
        "created_at": NOW,
        "progress": BatchProgress(done=3, total=3, failed=1, fraction=1.0),
        "table": "/api/v1/scores/batch/batch-1/table",
    }
    return ScoreBatch(**(values | changes))


def score(**changes: Any) -> Score:
    """Returns a finished score."""
    values: dict[str, Any] = {
        "id": "score-1",
        "state": "finished",
        "run_id": "run-1",
        "epoch": 4,
        "filename": "clip.mp4",
        "created_at": NOW,
        "media": {"video": "/api/v1/scores/score-1/media"},
        "result": score_result(),
    }
    return Score(**(values | changes))


def catalog() -> dict[str, Any]:
    """Returns the catalog as the API makes it."""
    registries = {
        "datasets": DATASETS, "encoders": ENCODERS, "fusions": FUSIONS, "objectives": OBJECTIVES,
        "optimizers": OPTIMIZERS, "schedules": SCHEDULES,
    }  # fmt: skip
    entries = {
        category: {
            kind: {
                "title": spec.title,
                "summary": spec.summary,
                "evidence": spec.evidence,
                "schema": spec.model_json_schema(),
            }
            for kind, spec in registry.items()
        }
        for category, registry in registries.items()
    }
    presets = [preset.model_dump(mode="json") for preset in PRESETS]
    return {**entries, "presets": presets, "run_schema": RunSpec.model_json_schema()}


class RecordedApi:
    """Answers as GapscopeClient does, from what is recorded; keeps what was asked for."""

    def __init__(self) -> None:
        self.known = {"run-1": run()}
        self.log_text = "epoch 4 is finished"
        self.datasets_known = [dataset()]
        self.asked: list[tuple[str, Any]] = []
        self.known_scores = {"score-1": score()}
        self.known_batches = {"batch-1": score_batch()}
        self.refusal: GapscopeError | None = None
        self.no_contents: GapscopeError | None = None
        self.no_waveform: GapscopeError | None = None
        self.no_export_size: GapscopeError | None = None
        self.devices = ["cpu"]
        self.free_bytes = 2**40
        self.keys: list[str | None] = []
        self.trashed = [trashed()]

    def catalog(self) -> dict[str, Any]:
        return catalog()

    def runs(self, **filters: Any) -> Page[Run]:
        self.asked.append(("runs", filters))
        return Page(list(self.known.values()), None)

    def run(self, run_id: str) -> Run:
        if run_id not in self.known:
            raise NotFoundError(f"There is no run with the id {run_id!r}.", code="run-not-found")
        return self.known[run_id]

    def subsets(self, **filters: Any) -> Page[Subset]:
        self.asked.append(("subsets", filters))
        return Page([subset()], None)

    def subset(self, subset_id: str) -> Subset:
        return subset(id=subset_id)

    def estimate_run(self, spec: dict[str, Any]) -> RunEstimate:
        if isinstance(self.refusal, InvalidRequestError):
            raise self.refusal
        return RunEstimate(
            dataset_id="clips",
            num_clips=10,
            is_prepared=False,
            store_bytes=2**30,
            run_bytes=2**20,
            free_bytes=self.free_bytes,
            fits=self.free_bytes > 2**30,
        )

    def create_run(self, spec: dict[str, Any], key: str | None = None) -> Run:
        self.keys.append(key)
        self.asked.append(("create_run", spec))
        if self.refusal:
            raise self.refusal
        return run("run-new")

    def clone(self, run_id: str) -> Run:
        self.asked.append(("clone", run_id))
        return run("run-copy", name="copy")

    def facets(self) -> RunFacets:
        count = [FacetCount(value=value, num_runs=1) for value in ("gmm-adaptive", "av-digits-1", "demo", "finished")]
        return RunFacets(objectives=count[:1], datasets=count[1:2], tags=count[2:3], states=count[3:])

    def trash(self, **filters: Any) -> Page[TrashedRun]:
        return Page(self.trashed, None)

    def restore(self, run_id: str) -> Run:
        self.asked.append(("restore", run_id))
        return run(run_id)

    def purge(self, run_id: str) -> int:
        self.asked.append(("purge", run_id))
        return 1_000

    def cancel(self, run_id: str) -> Run:
        self.asked.append(("cancel", run_id))
        raise ConflictError("The run has ended; nothing can be cancelled.", code="run-ended")

    def resume(self, run_id: str) -> Run:
        self.asked.append(("resume", run_id))
        return self.known[run_id]

    def events(self, run_id: str, after: int = 0, limit: int = 500) -> list[Event]:
        self.asked.append(("events", after))
        return [event for event in events() if event.seq > after][:limit]

    def report(self, run_id: str, name: str, **parameters: Any) -> dict[str, Any]:
        if name == "diagnosis":
            text = "19 of 40 visual-dominant validation clips (48 %) are silent, against 2 of 60 of the others (3 %)."
            return {"findings": [{"code": "silent-visual-dominant", "text": text}, {"code": "mixture", "text": "-"}]}
        if name == "cube":
            self.asked.append(("cube", parameters))
            cell = {"fused_correct": True, "audio_correct": False, "visual_correct": True, "num_samples": 12}
            return {"cells": [cell]}
        if name == "map":
            bins = [{"mean_gap": -0.6, "gap_deviation": 0.1, "num_samples": 40}]
            regions = [{"name": "changing", "title": "Changing", "rule": "spread at least 0.25", "num_samples": 7}]
            return {
                "bins": bins, "regions": regions, "mean_gap_step": 0.04, "gap_deviation_step": 0.02,
                "num_samples": 40, "num_epochs": 4, "from_epoch": 1, "to_epoch": 4,
            }  # fmt: skip
        accuracy = {"fused": 0.9, "audio": 0.5, "visual": 0.8}
        items = [
            {"label": label, "num_samples": 100, "accuracy": accuracy, "mean_gap": gap, "mean_abs_gap": abs(gap)}
            for label, gap in (("cat", -0.4), ("dog", 0.1))
        ]
        return {"items": items}

    def compare(self, runs: list[str], *, split: str = "validation", epoch: int | None = None) -> dict[str, Any]:
        self.asked.append(("compare", {"runs": runs, "split": split, "epoch": epoch}))
        curve = [
            {"epoch": event.epoch, "accuracy": event.validation.accuracy.model_dump(), "mean_abs_gap": 0.3}
            for event in events()
            if isinstance(event, EpochFinished)
        ]
        known = [self.known[run_id] for run_id in runs if run_id in self.known]
        return {
            "split": split,
            "epoch": epoch or 4,
            "newest_shared": 4,
            "newest": 4,
            "missing": [run_id for run_id in runs if run_id not in self.known],
            "differing": {"optimizer.learning_rate": {run.id: 0.1 for run in known}},
            "spreads": [self._spread(known)] if known else [],
            "runs": [
                {"run": run.model_dump(mode="json"), "curve": curve, "at": run.summary and run.summary.model_dump()}
                for run in known
            ],
        }

    def _spread(self, runs: list[Run]) -> dict[str, Any]:
        figures = {"fused": 0.9, "audio": 0.6, "visual": None}
        seeds = [run.spec.seed for run in runs]
        ids = [run.id for run in runs]
        return {"runs": ids, "seeds": seeds, "num_runs": len(runs), "mean": figures, "standard_deviation": figures}

    def compare_pairs(self, runs: list[str], **filters: Any) -> dict[str, Any]:
        test = {
            "modality": "fused", "both_right": 80, "only_first_right": 3, "only_second_right": 12, "both_wrong": 5,
            "p_value": 0.0352, "p_holm": 0.0352, "test": "exact binomial",
        }  # fmt: skip
        items = [
            {"first": runs[0], "second": second, "reason": None, "num_samples": 100, "tests": [test]}
            for second in runs[1:]
        ]
        return {"num_tests": len(items), "items": items}

    def compare_changes(self, first: str, second: str, **filters: Any) -> dict[str, Any]:
        self.asked.append(("compare_changes", filters))
        right = {"fused_correct": True, "audio_correct": True, "visual_correct": None}
        item = {
            "sample_id": "clip-1", "label": "cat", "first": {"gap": -0.5, "group": "visual_dominant", **right},
            "second": {"gap": 0.1, "group": "similar", **right, "fused_correct": False},
        }  # fmt: skip
        return {"total": 1, "items": [item], "next": None}

    def sample_rows(self, run_id: str, **filters: Any) -> Page[SampleRow]:
        self.asked.append(("sample_rows", filters))
        return Page([row("clip-1"), row("clip-2", gap=-0.5)], "next")

    def sample(self, run_id: str, sample_id: str, *, epoch: int | None = None) -> dict[str, Any]:
        self.asked.append(("sample", {"sample_id": sample_id, "epoch": epoch}))
        rows = [row(sample_id, epoch).model_dump(mode="json") for epoch in (1, 2, 3, 4)]
        place = f"/api/v1/datasets/d/samples/{sample_id}"
        media = {"video": f"{place}/media?track=video", "poster": f"{place}/poster", "frames": f"{place}/frames"}
        trajectory = {
            "epochs": [1, 2, 3, 4],
            "gap": [0.5, 0.6, None, -0.7],
            "posterior_imbalanced": [0.1, 0.2, None, 0.9],
        }
        return {
            "sample_id": sample_id, "dataset_id": "clips", "rows": rows, "media": media, "trajectory": trajectory,
        }  # fmt: skip

    def export_size(self, run_id: str, **wanted: Any) -> ExportSize:
        self.asked.append(("export_size", {"run_id": run_id, **wanted}))
        if self.no_export_size:
            raise self.no_export_size
        if wanted["table"] == "epochs":
            return ExportSize(num_rows=4, csv_bytes=2_345, parquet_bytes=9_876, exact=True)
        return ExportSize(num_rows=10_000, csv_bytes=2_345_678, parquet_bytes=345_678, exact=False)

    def clip_contents(self, dataset_id: str, sample_id: str) -> ClipContents:
        if self.no_contents:
            raise self.no_contents
        spectrogram = SpectrogramView(
            kind="log-mel", edges_s=[1.0, 1.25, 1.5], edges_hz=[0.0, 500.0, 4_000.0],
            levels_db=[[-20.0, -80.0], [-50.0, -10.0]],
        )  # fmt: skip
        return ClipContents(
            sample_id=sample_id, start_s=1.0, duration_s=0.5, has_audio=True, has_visual=True,
            frame_times_s=[1.125, 1.375], spectrogram=spectrogram, waveform=None,
        )  # fmt: skip

    def clip_waveform(self, dataset_id: str, sample_id: str) -> WaveformView:
        self.asked.append(("clip_waveform", {"dataset_id": dataset_id, "sample_id": sample_id}))
        if self.no_waveform:
            raise self.no_waveform
        return WaveformView(edges_s=[1.0, 1.25, 1.5], low=[-0.5, -1.0], high=[0.25, 1.0])

    def dataset_notes(self, dataset_id: str) -> dict[str, dict[str, int]]:
        return {"corrupted": {"audio": 20}}

    def annotation_summary(self, dataset_id: str) -> AnnotationSummary:
        return AnnotationSummary(tags=[TagCount(tag="hard", num_samples=3)], num_annotated=3, num_noted=0)

    def annotate_many(self, dataset_id: str, **change: Any) -> AnnotationsChanged:
        self.asked.append(("annotate_many", {"dataset_id": dataset_id, **change}))
        return AnnotationsChanged(num_samples=1, num_changed=1)

    def save_subset(self, name: str, run_id: str, **chosen: Any) -> Subset:
        self.asked.append(("save_subset", {"name": name, "run_id": run_id, **chosen}))
        if self.refusal:
            raise self.refusal
        return subset(name=name)

    def log(self, run_id: str, tail: int | None = None) -> str:
        return self.log_text

    def datasets(self, **filters: Any) -> Page[Dataset]:
        return Page(self.datasets_known, None)

    def dataset(self, dataset_id: str) -> Dataset:
        return self.datasets_known[0]

    def register_dataset(self, spec: dict[str, Any]) -> Dataset:
        self.asked.append(("register_dataset", spec))
        if not spec["path"].startswith("/"):
            fault = FieldProblem(
                field="folder.path", expected="an absolute path", got="data", remedy="Begin it with /."
            )
            raise InvalidRequestError("path: expected an absolute path.", errors=[fault])
        return dataset(id="folder-2")

    def prepare_dataset(self, dataset_id: str) -> Dataset:
        self.asked.append(("prepare_dataset", dataset_id))
        self.datasets_known = [dataset(state="queued")]
        return self.datasets_known[0]

    def delete_dataset(self, dataset_id: str) -> int:
        self.asked.append(("delete_dataset", dataset_id))
        self.datasets_known = []
        return 3 * 2**20

    def dataset_samples(self, dataset_id: str, **filters: Any) -> Page[DatasetSample]:
        self.asked.append(("dataset_samples", filters))
        sample = DatasetSample(
            sample_id="clip-1", label="cat", split="train", duration_s=2.0, notes={"corrupted": "no"},
            media={"video": "/api/v1/datasets/folder-1/samples/clip-1/media"},
        )  # fmt: skip
        return Page([sample], None)

    def skipped(self, dataset_id: str, **filters: Any) -> Page[SkippedClip]:
        clip = SkippedClip(sample_id="bad", path="cat/bad.mp4", code="media-not-decodable", reason="No video stream.")
        return Page([clip], None)

    def batches(self, **filters: Any) -> Page[ScoreBatch]:
        return Page(items=list(self.known_batches.values()), next=None)

    def score_batch(self, path: str, run_id: str, **options: Any) -> ScoreBatch:
        self.asked.append(("score_batch", (path, run_id)))
        if self.refusal:
            raise self.refusal
        return self.known_batches["batch-1"]

    def get_batch(self, batch_id: str) -> ScoreBatch:
        return self.known_batches[batch_id]

    def cancel_batch(self, batch_id: str) -> ScoreBatch:
        self.asked.append(("cancel_batch", batch_id))
        return self.known_batches[batch_id]

    def scores(self, **filters: Any) -> Page[ScoreSummary]:
        fields = set(ScoreSummary.model_fields)
        made = []
        for one in self.known_scores.values():
            known = one.model_dump(include=fields)
            found = one.result.model_dump(include=fields) if one.result else {}
            made.append(ScoreSummary(**known, **found))
        begin = int(filters.get("cursor") or 0)
        end = begin + (filters.get("limit") or 50)
        return Page(items=made[begin:end], next=str(end) if end < len(made) else None)

    def score_sample(self, run_id: str, dataset_id: str, sample_id: str, *, label: str | None = None) -> Score:
        self.asked.append(("score_sample", (run_id, dataset_id, sample_id, label)))
        return self.known_scores["score-1"]

    def delete_score(self, score_id: str) -> int:
        self.asked.append(("delete_score", score_id))
        del self.known_scores[score_id]
        return 2_000

    def get_score(self, score_id: str) -> Score:
        return self.known_scores[score_id]

    def system(self) -> dict[str, Any]:
        beat = {
            "name": "train@host", "queue": "train", "pid": 7, "host": "host", "devices": self.devices,
            "resident_bytes": 600_000_000, "busy_with": "run-1", "started_at": NOW.isoformat(),
        }  # fmt: skip
        return {
            "workers": [beat],
            "queues": {"train": 2, "prepare": 0, "score": 0},
            "redis": {
                "server": "valkey",
                "version": "9.1",
                "used_memory_bytes": 2_000_000,
                "max_memory_bytes": 0,
                "eviction_policy": "noeviction",
            },
            "disk": {
                "home": "/home",
                "total_bytes": 10**11,
                "free_bytes": 5 * 10**10,
                "accepts_new_work": True,
                "trash_bytes": 0,
            },
            "versions": {"gapscope": "0.1.0"},
        }


class DeadApi:
    """An API that does not answer, whatever is asked."""

    def __getattr__(self, name: str) -> Any:
        def unreachable(*_: Any, **__: Any) -> Any:
            raise UnreachableError("The API at http://127.0.0.1:9 does not answer (connection refused).")

        return unreachable


def problem(detail: str = "The loss became NaN in epoch 4.") -> Problem:
    """Returns a problem document."""
    return Problem(title="The run cannot go on", status=422, detail=detail, code="loss-not-finite")
