"""Batches: accepted with what was asked on disk, shown, cancelled, resumed, their table streamed, kept for a while."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.backend.conftest import Backend, wait_for
from tests.backend.folders import write_dataset, write_run
from worker.contract.layout import write_json
from worker.contract.record import Claim, Outcome
from worker.contract.score_batches import BATCH_COLUMNS, BatchProgress

TYPES = {"string": pa.string(), "float32": pa.float32(), "bool": pa.bool_()}
SCHEMA = pa.schema([(name, TYPES[kind]) for name, kind in BATCH_COLUMNS.items()])
ROWS = [
    {"sample_id": "a", "path": "/clips/a.mp4", "label": "=emu", "gap": 0.5, "gap_of": "label"},
    {"sample_id": "b", "path": "/clips/b.mp4", "error_code": "media-empty", "error": "no film"},
]


@pytest.fixture
def run(backend: Backend) -> str:
    write_dataset(backend.home)
    run_id = write_run(backend.home, dataset={"id": "clips"})
    backend.services.redis.flushdb()
    wait_for(lambda: backend.services.live.generation() is not None, "the ledger is rebuilt")
    return run_id


def ask(backend: Backend, run: str, **fields: Any) -> httpx.Response:
    return backend.http.post("/scores/batch", json={"run_id": run, "path": "/clips", **fields})


def accepted(backend: Backend, run: str, **fields: Any) -> str:
    response = ask(backend, run, **fields)
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"/api/v1/scores/batch/{response.json()['id']}"
    return str(response.json()["id"])


def finish(backend: Backend, batch_id: str, state: Any = "finished", rows: Any = ROWS) -> None:
    """Ends a batch as its worker would."""
    claim = backend.ledger.claim("batch", batch_id, "scorer")
    assert isinstance(claim, Claim)
    folder = backend.home.batch(batch_id)
    write_json(folder.plan, {"epoch": 3})
    progress = BatchProgress(done=2, total=2, failed=1, fraction=1.0, eta_s=1.0)
    backend.ledger.set_progress("batch", batch_id, claim.token, progress.model_dump_json(), done=2)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder.table)
    Outcome.now(state).write(folder.outcome)
    backend.ledger.transition("batch", batch_id, claim.token, {"running"}, state)


def test_a_batch_is_on_the_disk_and_queued_when_it_is_accepted(backend: Backend, run: str) -> None:
    batch_id = accepted(backend, run, format="parquet", epoch=3)
    spec = json.loads(backend.home.batch(batch_id).spec.read_text())["spec"]
    assert spec == {"run_id": run, "path": "/clips", "epoch": 3, "format": "parquet"}
    shown = backend.get(f"/scores/batch/{batch_id}")
    assert (shown["state"], shown["table"], shown["epoch"], shown["progress"]["done"]) == ("queued", None, None, 0)
    assert backend.get("/system")["queues"]["score"] == 1
    assert [one["id"] for one in backend.get("/scores/batch", run_id=run)["items"]] == [batch_id]
    assert backend.get("/scores/batch", state="finished")["items"] == []
    assert backend.get("/scores")["items"] == []


def test_the_table_comes_as_csv_or_parquet(backend: Backend, run: str) -> None:
    batch_id = accepted(backend, run, format="parquet")
    backend.problem(backend.http.get(f"/scores/batch/{batch_id}/table"), 409, "no-table")
    finish(backend, batch_id)
    shown = backend.get(f"/scores/batch/{batch_id}")
    assert (shown["state"], shown["epoch"]) == ("finished", 3)
    assert shown["progress"] == {
        "done": 2, "total": 2, "failed": 1, "fraction": 1.0, "eta_s": None, "clips_per_s": None,
    }  # fmt: skip
    table = httpx.get(httpx.URL(backend.url).join(shown["table"]))
    assert pq.read_table(io.BytesIO(table.content)).column_names == list(BATCH_COLUMNS)
    header, first, second = backend.http.get(f"/scores/batch/{batch_id}/table?format=csv").text.splitlines()
    assert header.split(",") == list(BATCH_COLUMNS)
    assert first.startswith("a,/clips/a.mp4,'=emu,")
    assert second.endswith("media-empty,no film")
    backend.problem(backend.http.get(f"/scores/batch/{batch_id}/table?format=xml"), 422, "invalid-request")


def test_an_empty_table_has_its_header(backend: Backend, run: str) -> None:
    batch_id = accepted(backend, run)
    finish(backend, batch_id, rows=[])
    assert backend.http.get(f"/scores/batch/{batch_id}/table").text.strip() == ",".join(BATCH_COLUMNS)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"epoch": 2}, 409, "no-checkpoint"),
        ({"epoch": 0}, 422, "invalid-request"),
        ({"epoch": "3"}, 422, "invalid-request"),
        ({"path": ""}, 422, "invalid-request"),
        ({"path": "a\0b"}, 422, "invalid-request"),
        ({"format": "xml"}, 422, "invalid-request"),
        ({"surprise": 1}, 422, "invalid-request"),
        ({"run_id": "run-none"}, 404, "run-not-found"),
        ({"run_id": "../etc"}, 422, "invalid-request"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_leaves_nothing(
    backend: Backend, run: str, fields: dict[str, Any], status: int, code: str
) -> None:
    backend.problem(ask(backend, run, **fields), status, code)
    assert list(backend.home.batches.iterdir()) == []


def test_a_queued_batch_is_cancelled_at_once_and_can_be_resumed(backend: Backend, run: str) -> None:
    batch_id = accepted(backend, run)
    address = f"/scores/batch/{batch_id}"
    assert backend.http.post(f"{address}/cancel").json()["state"] == "cancelled"
    backend.problem(backend.http.post(f"{address}/cancel"), 409, "already-ended")
    backend.problem(backend.http.get(f"{address}/table"), 409, "no-table")
    assert backend.http.post(f"{address}/resume").json()["state"] == "queued"
    backend.problem(backend.http.post(f"{address}/resume"), 409, "not-resumable")
    assert not backend.home.batch(batch_id).cancel.exists()
    backend.problem(backend.http.post("/scores/batch/batch-none/cancel"), 404, "batch-not-found")
    backend.problem(backend.http.get("/scores/batch/batch-none"), 404, "batch-not-found")


def test_an_ended_batch_is_deleted_with_its_table_and_an_active_one_is_not(backend: Backend, run: str) -> None:
    done, waiting = accepted(backend, run), accepted(backend, run)
    finish(backend, done)
    size = backend.home.batch(done).table.stat().st_size
    assert backend.http.delete(f"/scores/batch/{done}").json()["freed_bytes"] >= size
    backend.problem(backend.http.get(f"/scores/batch/{done}"), 404, "batch-not-found")
    backend.problem(backend.http.delete(f"/scores/batch/{done}"), 404, "batch-not-found")
    assert not backend.home.batch(done).path.exists()
    backend.problem(backend.http.delete(f"/scores/batch/{waiting}"), 409, "batch-active")
    assert backend.get(f"/scores/batch/{waiting}")["state"] == "queued"


def test_batches_come_back_from_their_folders(backend: Backend, run: str) -> None:
    done, waiting = accepted(backend, run), accepted(backend, run)
    finish(backend, done)
    before = backend.get("/scores/batch")["items"]
    backend.services.redis.flushdb()
    wait_for(lambda: backend.services.live.generation() is not None, "the ledger is rebuilt")
    after = backend.get("/scores/batch")["items"]
    assert [one["id"] for one in after] == [waiting, done]
    assert [{**one, "finished_at": None} for one in after] == [{**one, "finished_at": None} for one in before]


def test_old_batches_are_deleted(backend: Backend, run: str) -> None:
    old, waiting = accepted(backend, run), accepted(backend, run)
    finish(backend, old)
    batches, tools = backend.services.batches, backend.services.tools
    assert batches.expire().number == 0
    object.__setattr__(tools, "settings", tools.settings.model_copy(update={"score_days": 0.0}))
    try:
        assert batches.expire().number == 1
    finally:
        object.__setattr__(tools, "settings", backend.services.settings)
    assert [one["id"] for one in backend.get("/scores/batch")["items"]] == [waiting]
    assert not backend.home.batch(old).path.exists()
