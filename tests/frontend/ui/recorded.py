"""A recorded API: contract objects made by hand, and a client that answers from them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from frontend.client import Page, UnreachableError
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
from worker.contract.resources import Dataset, DatasetSample, PrepareProgress, Run, RunProgress, SkippedClip
from worker.contract.scores import (
    ClassByModality,
    DistributionByModality,
    ProbabilityByModality,
    SampleRow,
    Score,
    ScoreResult,
)
from worker.contract.spec import PRESETS, RunSpec
from worker.contract.spec.registry import DATASETS, ENCODERS, FUSIONS, OBJECTIVES, OPTIMIZERS, SCHEDULES

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


def row(sample_id: str = "clip-1", epoch: int = 4, gap: float | None = -0.7, label: str = "cat") -> SampleRow:
    """Returns a sample that visual has right and audio has wrong."""
    return SampleRow(
        sample_id=sample_id, split="validation", label=label, epoch=epoch, gap=gap, posterior_imbalanced=0.93,
        loss_weight=1.0, p_true=ProbabilityByModality(fused=0.8, audio=0.2, visual=0.9),
        predicted=ClassByModality(fused="cat", audio="dog", visual="cat"), quality={"rms": 0.1}, 
        notes={"corrupted": "audio"},
    )  # fmt: skip


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
        "modalities_present": ["audio", "visual"],
        "padded": False,
        "knock_outs": {
            "mute": DistributionByModality(fused={"cat": 0.9, "dog": 0.1}, audio=None, visual=None),
            "black": DistributionByModality(fused={"cat": 0.3, "dog": 0.7}, audio=None, visual=None),
        },
        "timing_s": {"total": 0.2},
    }
    return ScoreResult(**(values | changes))


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
            kind: {"title": spec.title, "summary": spec.summary, "schema": spec.model_json_schema()}
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
        self.scores = {"score-1": score()}
        self.refusal: GapscopeError | None = None

    def catalog(self) -> dict[str, Any]:
        return catalog()

    def runs(self, **filters: Any) -> Page[Run]:
        self.asked.append(("runs", filters))
        return Page(list(self.known.values()), None)

    def run(self, run_id: str) -> Run:
        if run_id not in self.known:
            raise NotFoundError(f"There is no run with the id {run_id!r}.", code="run-not-found")
        return self.known[run_id]

    def create_run(self, spec: dict[str, Any]) -> Run:
        self.asked.append(("create_run", spec))
        if self.refusal:
            raise self.refusal
        return run("run-new")

    def clone(self, run_id: str) -> Run:
        self.asked.append(("clone", run_id))
        return run("run-copy", name="copy")

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
        accuracy = {"fused": 0.9, "audio": 0.5, "visual": 0.8}
        items = [
            {"label": label, "num_samples": 100, "accuracy": accuracy, "mean_gap": gap, "mean_abs_gap": abs(gap)}
            for label, gap in (("cat", -0.4), ("dog", 0.1))
        ]
        return {"items": items}

    def sample_rows(self, run_id: str, **filters: Any) -> Page[SampleRow]:
        self.asked.append(("sample_rows", filters))
        return Page([row("clip-1"), row("clip-2", gap=-0.5)], "next")

    def sample(self, run_id: str, sample_id: str) -> dict[str, Any]:
        rows = [row(sample_id, epoch).model_dump(mode="json") for epoch in (1, 2, 3, 4)]
        return {"sample_id": sample_id, "rows": rows, "media": {"video": "/api/v1/datasets/d/samples/s/media"}}

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

    def dataset_samples(self, dataset_id: str, **filters: Any) -> Page[DatasetSample]:
        sample = DatasetSample(
            sample_id="clip-1", label="cat", split="train", duration_s=2.0, notes={"corrupted": "no"},
            media={"video": "/api/v1/datasets/folder-1/samples/clip-1/media"},
        )  # fmt: skip
        return Page([sample], None)

    def skipped(self, dataset_id: str, **filters: Any) -> Page[SkippedClip]:
        clip = SkippedClip(sample_id="bad", path="cat/bad.mp4", code="media-not-decodable", reason="No video stream.")
        return Page([clip], None)

    def get_score(self, score_id: str) -> Score:
        return self.scores[score_id]

    def system(self) -> dict[str, Any]:
        beat = {
            "name": "train@host", "queue": "train", "pid": 7, "host": "host", "devices": ["cpu"],
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
