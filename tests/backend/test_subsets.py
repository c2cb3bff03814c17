"""Subsets of training samples: saved, listed, refused, fixed in the runs on them; where runs come from."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.backend.conftest import Backend, Filled
from tests.backend.folders import sample_ids, write_dataset, write_run
from tests.backend.test_runs import claimed
from worker.contract.layout import write_json
from worker.contract.resources import ResolvedSpec
from worker.contract.subset_files import read_sample_ids, read_subset
from worker.contract.subsets import digest_of

TRAIN = [name for index, name in enumerate(sample_ids(200)) if index % 4 in (0, 1)]


@pytest.fixture
def home(backend: Backend) -> Iterator[Filled]:
    """A server that tests may change, with a dataset and a finished run."""
    dataset_id = write_dataset(backend.home, count=200)
    runs = [write_run(backend.home, dataset={"id": dataset_id})]
    backend.services.redis.flushdb()
    rebuild(backend)
    return Filled(backend, runs, dataset_id)


def rebuild(backend: Backend) -> None:
    """Waits until the backend has brought the ledger back from the folders."""
    from tests.backend.conftest import wait_for

    wait_for(lambda: backend.services.live.generation() is not None, "the ledger is rebuilt")


def save(filled: Filled, **fields: Any) -> dict[str, Any]:
    response = filled.backend.http.post("/subsets", json={"name": "similar", "run_id": filled.run, **fields})
    assert response.status_code == 201, response.text
    subset: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/api/v1/subsets/{subset['id']}"
    return subset


def launched(filled: Filled, **fields: Any) -> dict[str, Any]:
    spec = {"preset": "demo", "epochs": 3, "dataset": {"id": filled.dataset_id}, **fields}
    response = filled.backend.http.post("/runs", json=spec)
    assert response.status_code == 202, response.text
    run: dict[str, Any] = response.json()
    return run


def refused(filled: Filled, path: str, body: dict[str, Any], code: str) -> dict[str, Any]:
    return filled.backend.problem(filled.backend.http.post(path, json=body), 422, code)


def test_a_filter_saves_the_training_samples_that_pass_it(home: Filled) -> None:
    subset = save(home, filter={"max_posterior": 0.5, "fused_correct": True}, epoch=2)
    table = pq.read_table(home.backend.home.run(home.run).sample_table(2)).to_pylist()
    expected = [
        row["sample_id"]
        for row in table
        if row["split"] == "train"
        and row["fused_correct"]
        and row["posterior_imbalanced"] is not None
        and row["posterior_imbalanced"] <= 0.5
    ]
    page = home.backend.get(f"/subsets/{subset['id']}/samples", limit=500)
    assert page["items"] == expected
    assert 0 < len(expected) == subset["num_samples"] == sum(subset["class_counts"].values()) < len(TRAIN)
    assert subset["digest"] == digest_of(expected)
    assert (subset["run_id"], subset["epoch"], subset["dataset_id"]) == (home.run, 2, home.dataset_id)
    assert subset["filter"] == {"max_posterior": 0.5, "fused_correct": True, "split": "train", "epoch": 2}
    assert subset["store_digest"] == "0" * 16


def test_a_list_is_kept_in_the_stores_order_each_sample_once(home: Filled) -> None:
    subset = save(home, sample_ids=[TRAIN[5], TRAIN[1], TRAIN[5]])
    assert home.backend.get(f"/subsets/{subset['id']}/samples")["items"] == [TRAIN[1], TRAIN[5]]
    assert (subset["epoch"], subset["filter"]) == (3, None)


def test_samples_come_by_page(home: Filled) -> None:
    subset = save(home, filter={})
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = home.backend.get(f"/subsets/{subset['id']}/samples", limit=30, **cursor)
        seen += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == TRAIN


@pytest.mark.parametrize(("split", "place"), [("test", 3), ("validation", 2)])
def test_held_out_samples_are_refused(home: Filled, split: str, place: int) -> None:
    body = {"name": "leak", "run_id": home.run}
    held_out = sample_ids(200)[place]
    found = refused(home, "/subsets", {**body, "sample_ids": [TRAIN[0], held_out]}, f"subset-{split}-samples")
    assert held_out in found["detail"]
    refused(home, "/subsets", {**body, "filter": {"split": split}}, f"subset-{split}-samples")
    assert home.backend.get("/subsets")["items"] == []


def test_a_sample_that_is_a_test_sample_by_now_is_refused(home: Filled) -> None:
    path = home.backend.home.dataset(home.dataset_id).store / "samples.parquet"
    clips = pq.read_table(path)
    moved = pa.array(["test"] * len(clips)).dictionary_encode().cast(clips.schema.field("split").type)
    pq.write_table(clips.set_column(clips.schema.get_field_index("split"), "split", moved), path)
    refused(home, "/subsets", {"name": "old", "run_id": home.run, "filter": {}}, "subset-store-changed")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "invalid-request"),
        ({"filter": {}, "sample_ids": ["a"]}, "invalid-request"),
        ({"sample_ids": []}, "invalid-request"),
        ({"sample_ids": ["no such clip"]}, "subset-unknown-sample"),
        ({"filter": {"min_gap": 0.99, "max_gap": -0.99}}, "subset-empty"),
        ({"filter": {"epoch": 1}, "epoch": 2}, "invalid-request"),
        ({"filter": {}, "name": "  "}, "invalid-request"),
    ],
)
def test_what_is_no_choice_of_samples_is_refused(home: Filled, fields: dict[str, Any], code: str) -> None:
    refused(home, "/subsets", {"name": "n", "run_id": home.run, **fields}, code)


def test_a_run_or_an_epoch_that_is_not_there_is_not_found(home: Filled) -> None:
    http, body = home.backend.http, {"name": "n", "filter": {}}
    home.backend.problem(http.post("/subsets", json={**body, "run_id": "run-0-0"}), 404, "run-not-found")
    home.backend.problem(http.post("/subsets", json={**body, "run_id": home.run, "epoch": 9}), 404, "epoch-not-found")


def test_a_name_used_again_makes_the_next_version_and_lists_come_newest_first(home: Filled) -> None:
    first, second = save(home, filter={}), save(home, sample_ids=TRAIN[:9])
    other = save(home, filter={}, name="other")
    assert (first["version"], second["version"], other["version"]) == (1, 2, 1)
    page = home.backend.get("/subsets", limit=2)
    assert [one["id"] for one in page["items"]] == [other["id"], second["id"]]
    assert [one["id"] for one in home.backend.get("/subsets", limit=2, cursor=page["next"])["items"]] == [first["id"]]
    assert home.backend.get("/subsets", run="run-0-0")["items"] == []
    assert len(home.backend.get("/subsets", dataset=home.dataset_id)["items"]) == 3


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_subset_is_exported_with_its_name_and_version(home: Filled, kind: str) -> None:
    subset = save(home, sample_ids=TRAIN[:9], name="=similar")
    answer = home.backend.http.get(f"/subsets/{subset['id']}/export", params={"format": kind})
    assert answer.status_code == 200
    read = pd.read_csv if kind == "csv" else pd.read_parquet
    table = read(io.BytesIO(answer.content))
    assert table["sample_id"].tolist() == TRAIN[:9]
    assert set(table["version"]) == {1}
    assert set(table["subset"]) == ({"'=similar"} if kind == "csv" else {"=similar"})


def test_a_deleted_subset_is_gone_and_a_run_on_it_has_its_own_copy(home: Filled) -> None:
    subset = save(home, sample_ids=TRAIN[:40])
    run = launched(home, subset=subset["id"])
    assert home.backend.get(f"/subsets/{subset['id']}")["derived_runs"] == [run["id"]]
    assert home.backend.http.delete(f"/subsets/{subset['id']}").json() == {"id": subset["id"]}
    home.backend.problem(home.backend.http.get(f"/subsets/{subset['id']}"), 404, "subset-not-found")
    home.backend.problem(home.backend.http.delete(f"/subsets/{subset['id']}"), 404, "subset-not-found")
    clone = home.backend.http.post(f"/runs/{run['id']}/clone").json()
    for run_id in (run["id"], clone["id"]):
        folder = home.backend.home.run(run_id).subset
        copy = read_subset(folder)
        assert copy is not None
        assert copy.digest == subset["digest"]
        assert read_sample_ids(folder, copy) == TRAIN[:40]
    refused(
        home,
        "/runs",
        {"preset": "demo", "dataset": {"id": home.dataset_id}, "subset": subset["id"]},
        "subset-unknown",
    )


def test_a_subset_of_another_dataset_is_refused(home: Filled) -> None:
    subset = save(home, filter={})
    refused(home, "/runs", {"preset": "demo", "subset": subset["id"]}, "subset-other-dataset")


def test_lineage_is_shown_on_both_sides_and_outlives_redis(home: Filled) -> None:
    subset = save(home, filter={}, epoch=2)
    own = home.backend.get(f"/runs/{home.run}")["spec"]
    same = {name: own[name] for name in ("encoder", "fusion")}
    run = launched(home, subset=subset["id"], start_from=home.run, **same)
    expected = [
        {"run_id": home.run, "through": "start_from", "epoch": None, "subset_id": None, "subset_name": None},
        {"run_id": home.run, "through": "subset", "epoch": 2, "subset_id": subset["id"], "subset_name": "similar"},
    ]
    assert run["derived_from"] == expected
    for _ in range(2):
        assert home.backend.get(f"/runs/{run['id']}")["derived_from"] == expected
        assert home.backend.get(f"/runs/{home.run}")["derived_runs"] == [run["id"]]
        assert home.backend.get(f"/subsets/{subset['id']}")["derived_runs"] == [run["id"]]
        home.backend.services.redis.flushdb()
        rebuild(home.backend)


def test_a_start_that_cannot_be_is_refused(home: Filled) -> None:
    base = {"preset": "demo", "dataset": {"id": home.dataset_id}}
    refused(home, "/runs", {**base, "start_from": "run-0-0"}, "source-run-unknown")
    refused(home, "/runs", {**base, "start_from": "no run"}, "invalid-request")
    refused(home, "/runs", {**base, "start_weights": "chosen"}, "invalid-request")
    refused(home, "/runs", {**base, "start_from": home.run, "encoder": {"kind": "resnet18"}}, "start-run-unfit")
    refused(home, "/runs", {**base, "start_from": home.run, "fusion": {"kind": "sum"}}, "start-run-unfit")
    waiting = launched(home)
    claimed(home.backend, waiting["id"])
    refused(home, "/runs", {**base, "start_from": waiting["id"]}, "source-run-unfinished")


def test_a_clone_takes_along_the_weights_that_its_run_started_from(home: Filled) -> None:
    run = launched(home, start_from=home.run)
    folder = home.backend.home.run(run["id"])
    folder.start.mkdir()
    (folder.start / "epoch-00003.safetensors").write_bytes(b"weights")
    write_json(folder.resolved_spec, resolved().model_dump(mode="json"))
    shutil.rmtree(home.backend.home.run(home.run).checkpoints)
    clone = home.backend.http.post(f"/runs/{run['id']}/clone").json()
    copied = home.backend.home.run(clone["id"]).start / "epoch-00003.safetensors"
    assert copied.read_bytes() == b"weights"
    assert clone["derived_from"][0]["epoch"] == 3


def resolved() -> ResolvedSpec:
    return ResolvedSpec(
        dataset_id="clips",
        store_digest="0" * 16,
        device="cpu",
        precision="fp32",
        memory_format="contiguous",
        threads=1,
        deterministic=True,
        start_epoch=3,
        versions={},
        processor="none",
    )
