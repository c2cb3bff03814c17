"""What a run takes on the disk: told beforehand, refused where it does not fit."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from backend.estimating import count_clips, memory_of, seconds_of
from backend.live import IndexEntry
from tests.backend.conftest import Backend, wait_for
from tests.backend.folders import write_dataset
from worker.contract.record import JobFacts
from worker.contract.resources import Beat, RunEstimate
from worker.contract.spec import AvDigits, Folder, Manifest, PreprocessSpec, RunSpec

HUGE = {"duration_s": 60.0, "sample_rate_hz": 48_000, "num_frames": 64, "frame_size": 512, "crop_size": 512}
"""50 MB a clip."""


def clips(folder: Path, number: int) -> Path:
    (folder / "train" / "dog").mkdir(parents=True)
    for index in range(number):
        (folder / "train" / "dog" / f"{index}.mp4").touch()
    (folder / "train" / "dog" / "notes.txt").touch()
    return folder


def test_clips_are_counted_roughly(tmp_path: Path) -> None:
    assert count_clips(AvDigits()) == 1_750
    assert count_clips(Folder(path=str(clips(tmp_path / "clips", 7)))) == 7
    (tmp_path / "list.csv").write_text("path,label\na,b\nc,d\n")
    assert count_clips(Manifest(path=str(tmp_path / "list.csv"))) == 2
    assert count_clips(Folder(path=str(tmp_path / "none"))) is None


def test_an_estimate_names_store_and_run(backend: Backend, tmp_path: Path) -> None:
    body = {"dataset": {"kind": "folder", "path": str(clips(tmp_path / "clips", 7))}, "epochs": 10}
    answer = backend.http.post("/runs/estimate", json=body)
    assert answer.status_code == 200
    estimate = RunEstimate.model_validate(answer.json())
    assert (estimate.num_clips, estimate.is_prepared, estimate.fits) == (7, False, True)
    assert estimate.store_bytes == 7 * PreprocessSpec().stored_bytes
    assert 0 < estimate.run_bytes < 100 * 2**20
    assert "free" in estimate.line()
    assert list(backend.home.runs.iterdir()) == []
    longer = backend.http.post("/runs/estimate", json={**body, "epochs": 1_000, "encoder": {"kind": "resnet18"}}).json()
    assert longer["run_bytes"] > estimate.run_bytes


def test_a_prepared_dataset_needs_no_more_room(backend: Backend) -> None:
    dataset = write_dataset(backend.home)
    backend.services.redis.flushdb()
    wait_for(lambda: backend.services.live.generation() is not None, "the ledger is rebuilt")
    answer = backend.http.post("/runs/estimate", json={"preset": "demo", "dataset": {"id": dataset}}).json()
    assert (answer["is_prepared"], answer["store_bytes"], answer["num_clips"]) == (True, 0, 200)


def test_a_store_that_does_not_fit_is_refused_before_anything_is_made(backend: Backend, tmp_path: Path) -> None:
    number = int(shutil.disk_usage(tmp_path).free / 50e6) + 1_000
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\n" + "a,b\n" * number)
    body = {"dataset": {"kind": "manifest", "path": str(listed), "preprocess": HUGE}}
    assert backend.http.post("/runs/estimate", json=body).json()["fits"] is False
    problem = backend.problem(backend.http.post("/runs", json=body), 507, "disk-too-small")
    assert "MiB" in problem["detail"]
    backend.problem(backend.http.post("/datasets", json=body["dataset"]), 507, "disk-too-small")
    assert list(backend.home.runs.iterdir()) == list(backend.home.datasets.iterdir()) == []


def test_memory_is_that_of_a_gpu_else_of_this_machine_where_its_worker_is() -> None:
    def beat(**changes: Any) -> Beat:
        values: dict[str, Any] = {
            "name": "w", "queue": "train", "pid": 1, "host": socket.gethostname(), "devices": ["cpu"],
            "resident_bytes": 1, "started_at": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        return Beat(**(values | changes))

    spec = RunSpec(dataset=AvDigits())
    gpu = beat(host="elsewhere", devices=["cuda:0"], device_memory_bytes=80 * 2**30)
    machine = memory_of(spec, [beat()])
    assert machine is not None
    assert machine > 2**28
    assert memory_of(spec, [beat(), gpu]) == 80 * 2**30
    assert memory_of(spec, [beat(devices=["cuda:0"])]) is None
    assert memory_of(spec.model_copy(update={"device": "cpu"}), [beat(), gpu]) == machine
    assert memory_of(spec, [beat(host="elsewhere")]) is None
    assert memory_of(spec, [beat(queue="score")]) is None


@pytest.mark.parametrize(
    ("runs", "epochs", "seconds"),
    [
        ([(10, 60.0)], 20, 120.0),  # one length does not tell the start from the epochs
        ([(2, 24.0), (20, 60.0)], 100, 220.0),  # 20 s to start, 2 s an epoch
        ([(20, 60.0), (2, 24.0), (10, 40.0)], 50, 120.0),
        ([(2, 24.0), (20, 22.0)], 10, 10 * (12.0 + 1.1) / 2),  # a busy machine: the longer was the quicker
        ([(10, 10.0), (20, 40.0)], 30, 30 * 1.5),  # would start before its beginning
    ],
)
def test_the_start_of_a_run_is_not_counted_for_each_epoch(
    runs: list[tuple[int, float]], epochs: int, seconds: float
) -> None:
    spec = RunSpec.model_validate({"dataset": {"id": "clips"}, "epochs": epochs})
    facts = JobFacts(dataset_id="clips", encoder=spec.encoder.kind, objective=spec.objective.kind)
    earlier = [
        IndexEntry(
            id=f"run-{number}", state="finished", created_ms=number, started_ms=1_000,
            finished_ms=1_000 + round(1_000 * took), facts=facts, epoch=length,
        )
        for number, (length, took) in enumerate(runs)
    ]  # fmt: skip
    assert seconds_of(spec, "clips", earlier)[0] == pytest.approx(seconds)
    assert seconds_of(spec, "other", earlier) == (None, None)
