"""Datasets: registered, shown, their clips and what was skipped."""

from __future__ import annotations

import csv
import io
import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.recovery import Recovered, recover
from tests.backend.conftest import Backend, Filled, wait_for
from tests.backend.folders import write_dataset
from worker.contract.keys import JobKind
from worker.contract.layout import DatasetFolder, Home
from worker.contract.sources import stamps_of, write_stamps

FOLDER = {"kind": "folder", "path": "/data/clips"}


def pages(filled: Filled, path: str, **params: Any) -> list[Any]:
    items, cursor = [], {}
    while True:
        page = filled.backend.get(path, **params, **cursor)
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = {"cursor": page["next"]}


def test_ready_dataset_shows_its_store(filled: Filled) -> None:
    dataset = filled.backend.get(f"/datasets/{filled.dataset_id}")
    assert (dataset["state"], dataset["kind"], dataset["num_samples"], dataset["num_classes"]) == (
        "ready", "folder", 200, 3,
    )  # fmt: skip
    assert dataset["splits"] == {"train": 100, "validation": 50, "test": 50}
    assert (dataset["num_skipped"], len(dataset["skipped"]), dataset["progress"]["fraction"]) == (120, 100, 1.0)
    assert dataset["store_bytes"] > 0
    assert dataset["warnings"] == ["120 of 320 clips lack their picture file."]


def test_clips_and_skipped_clips_come_by_page(filled: Filled) -> None:
    clips = pages(filled, f"/datasets/{filled.dataset_id}/samples", limit=33)
    assert [clip["sample_id"] for clip in clips] == [f"clip-{number:06d}" for number in range(200)]
    assert clips[0]["notes"] == {"corrupted": "audio"}
    assert set(clips[0]["media"]) == {"video", "audio", "poster", "frames"}
    tests = pages(filled, f"/datasets/{filled.dataset_id}/samples", split="test", label="cat")
    assert {(clip["split"], clip["label"]) for clip in tests} == {("test", "cat")}
    skipped = pages(filled, f"/datasets/{filled.dataset_id}/skipped", limit=50)
    assert [clip["sample_id"] for clip in skipped] == [f"bad-{number}" for number in range(120)]
    table = filled.backend.http.get(f"/datasets/{filled.dataset_id}/skipped/export").text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["sample_id"] for row in rows] == [clip["sample_id"] for clip in skipped]
    assert filled.backend.get(f"/datasets/{filled.dataset_id}")["left_out"] == Counter(row["code"] for row in rows)


def test_same_spec_is_the_same_dataset_and_another_spec_needs_another_id(backend: Backend) -> None:
    first = backend.http.post("/datasets", json=FOLDER)
    assert first.status_code == 202
    assert first.headers["location"] == f"/api/v1/datasets/{first.json()['id']}"
    assert (first.json()["state"], first.json()["progress"]["total"]) == ("queued", 0)
    assert backend.http.post("/datasets", json={**FOLDER, "protocol": "paper"}).json()["id"] == first.json()["id"]
    named = backend.http.post("/datasets", json={**FOLDER, "id": "mine"}).json()
    assert named["id"] == "mine"
    other = {**FOLDER, "id": "mine", "path": "/elsewhere"}
    backend.problem(backend.http.post("/datasets", json=other), 409, "dataset-exists")
    assert {item["id"] for item in backend.get("/datasets", kind="folder")["items"]} == {first.json()["id"], "mine"}
    assert backend.get("/datasets", state="ready")["items"] == []


def test_a_corpus_is_another_dataset_under_each_protocol_and_a_run_must_name_the_right_one(backend: Backend) -> None:
    corpus = {"kind": "crema-d", "path": "/data/CREMA-D"}
    honest = backend.http.post("/datasets", json=corpus).json()
    paper = backend.http.post("/datasets", json={**corpus, "protocol": "paper"}).json()
    assert honest["id"] != paper["id"]
    backend.http.post("/datasets", json={**corpus, "id": "mine"})
    backend.problem(
        backend.http.post("/datasets", json={**corpus, "id": "mine", "protocol": "paper"}), 409, "dataset-exists"
    )
    wrong = {"dataset": {"id": paper["id"], "protocol": "honest"}}
    problem = backend.problem(backend.http.post("/runs", json=wrong), 422, "dataset-other-protocol")
    assert problem["errors"][0]["field"] == "dataset.protocol"
    right = {"dataset": {"id": paper["id"], "protocol": "paper"}}
    assert backend.http.post("/runs", json=right).status_code == 202


def no_spec(folder: DatasetFolder) -> None:
    folder.spec.unlink()


def torn_spec(folder: DatasetFolder) -> None:
    folder.spec.write_text("{")


def elsewhere(folder: DatasetFolder) -> None:
    outside = folder.path.parents[2] / "outside"
    folder.path.rename(outside)
    folder.path.symlink_to(outside)


@pytest.mark.parametrize("damage", [no_spec, torn_spec, elsewhere])
def test_a_folder_that_is_set_apart_is_taken_over_by_no_registration(
    backend: Backend, damage: Callable[[DatasetFolder], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = backend.home.dataset(write_dataset(backend.home))
    damage(folder)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    backend.services.redis.flushdb()
    with monkeypatch.context() as while_rebuilt:
        while_rebuilt.setattr(backend.services.live, "generation", lambda: None)
        backend.problem(backend.http.post("/datasets", json={**FOLDER, "id": "clips"}), 503, "being-rebuilt")
    rebuilt(backend)
    assert backend.ledger.get("dataset", "clips") is None
    for body in ({**FOLDER, "id": "clips"}, {"kind": "av-digits", "id": "clips"}):
        problem = backend.problem(backend.http.post("/datasets", json=body), 409, "dataset-set-apart")
        assert "Or choose another id" in problem["detail"]
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before
    assert backend.ledger.get("dataset", "clips") is None
    if folder.path.is_symlink():
        shutil.rmtree(folder.path.resolve())


def test_a_registration_that_redis_did_not_take_is_made_again(backend: Backend) -> None:
    backend.home.dataset("mine").path.mkdir()  # cut off before its spec was written
    assert backend.http.post("/datasets", json={**FOLDER, "id": "mine"}).status_code == 202
    backend.ledger.cancel("dataset", "mine")
    backend.ledger.delete("dataset", "mine")
    other = {**FOLDER, "id": "mine", "path": "/elsewhere"}
    backend.problem(backend.http.post("/datasets", json=other), 409, "dataset-exists")
    assert backend.http.post("/datasets", json={**FOLDER, "id": "mine"}).json()["state"] == "queued"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "folder"}, "path"),
        ({"kind": "none", "path": "/x"}, "kind"),
        ({**FOLDER, "pth": "/x"}, "pth"),
        ({**FOLDER, "id": "../up"}, "id"),
        ({"kind": "av-digits", "num_train": 1_200, "num_test": 600}, "num_train"),
    ],
)
def test_invalid_dataset_is_refused_by_field(backend: Backend, body: dict[str, Any], field: str) -> None:
    document = backend.problem(backend.http.post("/datasets", json=body), 422, "invalid-request")
    assert document["errors"][0]["field"] == field
    assert list(backend.home.datasets.iterdir()) == []


def test_a_path_is_checked_and_nothing_is_registered(backend: Backend, tmp_path: Path) -> None:
    answer = backend.http.post("/datasets/check", json={"kind": "folder", "path": str(tmp_path / "none"), "id": "x"})
    assert answer.status_code == 200
    assert answer.json()["problem"]["code"] == "dataset-not-found"
    made = backend.http.post("/datasets/check", json={"kind": "av-digits"}).json()
    assert (made["num_clips"], made["problem"]) == (1_750, None)
    assert 0 < made["store_bytes"] < made["free_bytes"]
    backend.problem(backend.http.post("/datasets/check", json={"kind": "folder"}), 422, "invalid-request")
    assert list(backend.home.datasets.iterdir()) == []


def test_preparation_is_cancelled_once(backend: Backend) -> None:
    dataset = backend.http.post("/datasets", json=FOLDER).json()["id"]
    cancelled = backend.http.post(f"/datasets/{dataset}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    backend.problem(backend.http.post(f"/datasets/{dataset}/cancel"), 409, "already-ended")
    backend.problem(backend.http.get(f"/datasets/{dataset}/samples"), 404, "store-not-found")
    backend.problem(backend.http.get("/datasets/none"), 404, "dataset-not-found")


def test_dataset_whose_store_is_cut_off_is_prepared_again(backend: Backend) -> None:
    dataset = write_dataset(backend.home)
    store = backend.home.dataset(dataset).store
    record = json.loads((store / "store.json").read_text())
    shapes = {"num_rows": 2, "frames_shape": [1, 2, 2, 3], "audio_shape": [4]}
    (store / "store.json").write_text(json.dumps({**record, **shapes}))
    (store / "frames.u8").write_bytes(bytes(24))
    (store / "audio.f16").write_bytes(bytes(16))
    backend.services.redis.flushdb()
    wait_for(lambda: backend.services.live.generation() is not None, "the ledger is rebuilt")
    body = {"id": dataset, **backend.get(f"/datasets/{dataset}")["spec"]}
    assert backend.http.post("/datasets", json=body).json()["state"] == "ready"
    (store / "frames.u8").write_bytes(bytes(23))
    run = backend.http.post("/runs", json={"preset": "demo", "dataset": {"id": dataset}}).json()
    assert run["waiting_for"] == f"dataset {dataset}"
    assert backend.get(f"/datasets/{dataset}")["state"] == "queued"
    assert not backend.home.dataset(dataset).outcome.exists()


def test_catalog_lists_every_kind_with_its_schema(filled: Filled) -> None:
    catalog = filled.backend.get("/catalog")
    for category in ("datasets", "encoders", "fusions", "objectives", "optimizers", "schedules"):
        for kind, entry in catalog[category].items():
            assert entry["schema"]["properties"]["kind"]["const"] == kind
            assert entry["title"]
            assert entry["summary"]
    assert catalog["presets"][0]["id"] == "demo"
    assert "epochs" in catalog["run_schema"]["properties"]


def rebuilt(backend: Backend) -> None:
    backend.services.redis.flushdb()
    wait_for(lambda: backend.services.live.generation() is not None, "the ledger is rebuilt")


def test_no_dataset_is_deleted_before_a_rebuild_has_brought_back_the_runs_that_need_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_dataset(backend.home)
    rebuilt(backend)
    run = backend.http.post("/runs", json={"preset": "demo", "dataset": {"id": dataset}}).json()["id"]
    asked = threading.Event()

    def slow(home: Home, kind: JobKind, job_id: str) -> Recovered | None:
        assert kind != "run" or asked.wait(20)
        return recover(home, kind, job_id)

    monkeypatch.setattr("backend.rebuild.recover", slow)
    backend.services.redis.flushdb()
    wait_for(lambda: backend.ledger.get("dataset", dataset), "the dataset is back")
    answer = backend.http.delete(f"/datasets/{dataset}")
    asked.set()
    backend.problem(answer, 503, "being-rebuilt")
    assert answer.headers["retry-after"] == "5"
    wait_for(lambda: backend.services.live.generation() is not None, "the ledger is rebuilt")
    assert run in backend.problem(backend.http.delete(f"/datasets/{dataset}"), 409, "dataset-in-use")["detail"]
    assert backend.home.dataset(dataset).store.is_dir()


def test_no_dataset_is_deleted_while_a_run_is_launched_on_it(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write_dataset(backend.home)
    rebuilt(backend)
    fix, answers = backend.services.lineage.fix, []

    def delete() -> None:
        answers.append(backend.http.delete(f"/datasets/{dataset}"))

    thread = threading.Thread(target=delete)

    def meanwhile(*arguments: Any) -> None:
        thread.start()
        thread.join(0.5)  # checked, and not yet created
        fix(*arguments)

    monkeypatch.setattr(backend.services.lineage, "fix", meanwhile)
    launched = backend.http.post("/runs", json={"preset": "demo", "dataset": {"id": dataset}})
    thread.join()
    assert launched.status_code == 202
    backend.problem(answers[0], 409, "dataset-in-use")
    assert backend.home.dataset(dataset).store.is_dir()


def test_a_dataset_says_who_uses_it_and_is_deleted_when_no_run_needs_it(backend: Backend) -> None:
    dataset = write_dataset(backend.home)
    rebuilt(backend)
    assert [item["id"] for item in backend.get("/datasets", unused=True)["items"]] == [dataset]
    run = backend.http.post("/runs", json={"preset": "demo", "dataset": {"id": dataset}}).json()["id"]
    shown = backend.get(f"/datasets/{dataset}")
    assert (shown["num_runs"], shown["active_runs"]) == (1, [run])
    assert backend.get("/datasets", unused=True)["items"] == []
    problem = backend.problem(backend.http.delete(f"/datasets/{dataset}"), 409, "dataset-in-use")
    assert run in problem["detail"]
    backend.http.post(f"/runs/{run}/cancel")
    answer = backend.http.delete(f"/datasets/{dataset}")
    assert answer.status_code == 200
    assert answer.json()["freed_bytes"] > 4_096
    assert not backend.home.dataset(dataset).path.exists()
    backend.problem(backend.http.get(f"/datasets/{dataset}"), 404, "dataset-not-found")
    backend.problem(
        backend.http.post("/runs", json={"preset": "demo", "dataset": {"id": dataset}}), 422, "dataset-unknown"
    )
    backend.problem(backend.http.delete("/datasets/none"), 404, "dataset-not-found")


def test_a_preparation_is_not_deleted_and_not_begun_twice(backend: Backend) -> None:
    dataset = backend.http.post("/datasets", json=FOLDER).json()["id"]
    backend.problem(backend.http.delete(f"/datasets/{dataset}"), 409, "dataset-active")
    backend.problem(backend.http.post(f"/datasets/{dataset}/prepare"), 409, "not-resumable")


def test_a_shared_store_frees_nothing(backend: Backend) -> None:
    first, second = write_dataset(backend.home), write_dataset(backend.home, dataset_id="twin")
    one, other = (backend.home.dataset(name).store / "frames.u8" for name in (first, second))
    one.write_bytes(bytes(1_000_000))
    other.hardlink_to(one)
    rebuilt(backend)
    assert backend.get(f"/datasets/{second}")["shared"] is True
    assert backend.http.delete(f"/datasets/{second}").json()["freed_bytes"] < 1_000_000
    assert one.stat().st_size == 1_000_000
    assert backend.get(f"/datasets/{first}")["shared"] is False


def test_changed_files_are_told_and_taken_in(backend: Backend) -> None:
    dataset = write_dataset(backend.home)
    folder = backend.home.dataset(dataset)
    clips = folder.clips
    write_stamps(folder.store / "sources.json", stamps_of([clips, clips / "a.mp4"]))
    rebuilt(backend)
    assert backend.get(f"/datasets/{dataset}")["changed"] is False
    (clips / "b.mp4").write_bytes(b"new")
    wait_for(lambda: backend.get(f"/datasets/{dataset}")["changed"], "the change is noticed", timeout_s=15)
    answer = backend.http.post(f"/datasets/{dataset}/prepare")
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert not folder.outcome.exists()
    assert folder.store.exists()
