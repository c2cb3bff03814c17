"""Datasets: registered, shown, their clips and what was skipped."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.backend.conftest import Backend, Filled, wait_for
from tests.backend.folders import write_dataset

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


def test_clips_and_skipped_clips_come_by_page(filled: Filled) -> None:
    clips = pages(filled, f"/datasets/{filled.dataset_id}/samples", limit=33)
    assert [clip["sample_id"] for clip in clips] == [f"clip-{number:06d}" for number in range(200)]
    assert clips[0]["notes"] == {"corrupted": "audio"}
    assert set(clips[0]["media"]) == {"video", "audio"}
    tests = pages(filled, f"/datasets/{filled.dataset_id}/samples", split="test", label="cat")
    assert {(clip["split"], clip["label"]) for clip in tests} == {("test", "cat")}
    skipped = pages(filled, f"/datasets/{filled.dataset_id}/skipped", limit=50)
    assert [clip["sample_id"] for clip in skipped] == [f"bad-{number}" for number in range(120)]


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


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "folder"}, "path"),
        ({"kind": "none", "path": "/x"}, "kind"),
        ({**FOLDER, "pth": "/x"}, "pth"),
        ({**FOLDER, "id": "../up"}, "id"),
        ({"kind": "av-digits", "num_train": 1_200, "num_test": 600}, "(the whole)"),
    ],
)
def test_invalid_dataset_is_refused_by_field(backend: Backend, body: dict[str, Any], field: str) -> None:
    document = backend.problem(backend.http.post("/datasets", json=body), 422, "invalid-request")
    assert document["errors"][0]["field"] == field
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
