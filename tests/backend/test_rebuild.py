"""Redis may be emptied: everything comes back from the folders."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.backend.conftest import Backend, serving, settings_for, wait_for
from tests.backend.folders import media_bytes, write_dataset, write_run
from worker.contract.errors import Problem
from worker.contract.lock import LockHolder
from worker.contract.record import Claim, ScoreOutcome


def state_of(backend: Backend, path: str) -> dict[str, Any]:
    document: dict[str, Any] = backend.get(path)
    return document


def empty_redis(backend: Backend) -> None:
    backend.services.redis.flushdb()
    wait_for(lambda: backend.services.live.generation() is not None, "the ledger is rebuilt")


def test_all_that_was_shown_is_shown_again(backend: Backend) -> None:
    write_dataset(backend.home)
    finished = write_run(backend.home, dataset={"id": "clips"})
    empty_redis(backend)
    cancelled = backend.http.post("/runs", json={"preset": "demo"}).json()["id"]
    backend.http.post(f"/runs/{cancelled}/cancel")
    queued = backend.http.post("/runs", json={"preset": "demo"}).json()["id"]
    paths = [f"/runs/{run}" for run in (finished, cancelled, queued)]
    before = [state_of(backend, path) for path in paths]
    datasets = backend.get("/datasets")["items"]
    empty_redis(backend)
    after = [state_of(backend, path) for path in paths]
    for run in (*before, *after):
        for name in ("finished_at", "queue_position"):
            run.pop(name)
    assert after == before
    assert backend.get("/datasets")["items"] == datasets
    assert [run["state"] for run in after] == ["finished", "cancelled", "queued"]


def test_run_that_may_be_held_comes_back_running_and_its_holder_goes_on(backend: Backend) -> None:
    write_dataset(backend.home)
    empty_redis(backend)
    run = backend.http.post("/runs", json={"preset": "demo", "dataset": {"id": "clips"}}).json()["id"]
    claim = backend.ledger.claim("run", run, "holder")
    assert isinstance(claim, Claim)
    holder = LockHolder(pid=1, start_time=1, host="elsewhere", token=claim.token)
    backend.home.run(run).lock.write_text(holder.model_dump_json())
    empty_redis(backend)
    assert backend.get(f"/runs/{run}")["state"] == "running"
    assert backend.ledger.renew(claim).value == "ok"
    record = backend.ledger.get("run", run)
    assert record is not None
    assert record.token == claim.token


def test_scores_come_back_queued_or_ended(backend: Backend) -> None:
    write_dataset(backend.home)
    run = write_run(backend.home, dataset={"id": "clips"})
    empty_redis(backend)
    files = {"file": ("a.mp4", media_bytes())}
    ids = [backend.http.post("/scores", data={"run_id": run}, files=files).json()["id"] for _ in range(2)]
    error = Problem(title="Bad clip", status=422, detail="no film", code="media-not-decodable")
    ended = ScoreOutcome(state="failed", finished_at=datetime.now(UTC), error=error)
    ended.write(backend.home.score(ids[0]).result)
    empty_redis(backend)
    shown = [backend.get(f"/scores/{score_id}") for score_id in ids]
    assert [score["state"] for score in shown] == ["failed", "queued"]
    assert shown[0]["error"]["code"] == "media-not-decodable"
    assert datetime.fromisoformat(shown[0]["finished_at"]) - ended.finished_at < timedelta(milliseconds=1)


def test_run_that_was_to_be_cancelled_comes_back_cancelled(backend: Backend) -> None:
    run = backend.http.post("/runs", json={"preset": "demo"}).json()["id"]
    backend.home.run(run).cancel.write_text(json.dumps({"format": 1}))
    empty_redis(backend)
    assert backend.get(f"/runs/{run}")["state"] == "cancelled"
    assert [event["type"] for event in backend.get(f"/runs/{run}/events")["events"]] == ["run_cancelled"]


def test_resumed_run_does_not_come_back_as_it_had_ended(backend: Backend) -> None:
    run = backend.http.post("/runs", json={"preset": "demo"}).json()["id"]
    backend.http.post(f"/runs/{run}/cancel")
    assert backend.http.post(f"/runs/{run}/resume").json()["state"] == "queued"
    empty_redis(backend)
    shown = backend.get(f"/runs/{run}")
    assert shown["state"] != "cancelled"
    assert shown["attempt"] == 2


@pytest.mark.parametrize(
    "damage", ["{", '{"format": 99, "id": "x", "created_at": "2026-01-01T00:00:00Z", "spec": {}}', ""]
)
def test_damaged_folder_hides_no_other(backend: Backend, damage: str) -> None:
    write_dataset(backend.home)
    bad, good = write_run(backend.home), write_run(backend.home)
    backend.home.run(bad).spec.write_text(damage)
    empty_redis(backend)
    assert [run["id"] for run in backend.get("/runs")["items"]] == [good]


def test_reads_of_the_archive_go_on_while_redis_is_down(tmp_path: Path, valkey_server: Any, valkey_url: str) -> None:
    home = tmp_path / "home"
    with serving(settings_for(home, valkey_url)) as backend:
        run = write_run(backend.home)
        valkey_server.kill()
        try:
            assert backend.get("/health/live") == {"status": "alive"}
            assert len(backend.get(f"/runs/{run}/events")["events"]) == 5
            missing = backend.problem(backend.http.get("/health/ready"), 503, "unavailable")
            assert missing["errors"][0]["field"] == "redis"
            backend.problem(backend.http.get("/runs"), 503, "redis-unavailable")
            refused = backend.http.post("/runs", json={"preset": "demo"})
            backend.problem(refused, 503, "redis-unavailable")
        finally:
            valkey_server.start()
        wait_for(lambda: backend.http.get("/runs").status_code == 200, "Redis is back")
