"""Two backends on one home serve side by side; of two stacks the second is refused and disturbs nobody."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from tests.backend.conftest import Backend, serving, settings_for, wait_for
from tests.backend.folders import write_dataset, write_run
from tests.backend.stack.running import RunningStack, start_stack
from tests.stack.driving import Api
from worker.contract import keys
from worker.contract.layout import Home
from worker.contract.record import Change, Claim, JobRecord, Moved, Renewal

STALE_S = 1.0


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, valkey_server: Any) -> Iterator[tuple[Backend, Backend]]:
    home = Home(tmp_path_factory.mktemp("two") / "home")
    home.create()
    write_dataset(home)
    write_run(home)
    url = valkey_server.url.replace("/0", "/3")
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    settings = settings_for(home.path, url, stale_beat_s=STALE_S)
    with ExitStack() as running:
        yield running.enter_context(serving(settings)), running.enter_context(serving(settings))


def record(backend: Backend, run_id: str) -> JobRecord:
    found = backend.ledger.get("run", run_id)
    assert found is not None
    return found


def messages(backend: Backend, run_id: str) -> int:
    return sum(run_id in message for message in backend.services.live.messages("run"))


def test_two_backends_on_one_home_serve_alike_and_queue_a_dead_run_once(two: tuple[Backend, Backend]) -> None:
    first, second = two
    run = first.http.post("/runs", json={"preset": "demo", "dataset": {"id": "clips"}}).json()["id"]
    assert second.get(f"/runs/{run}")["state"] == "queued"
    assert first.get("/runs")["items"] == second.get("/runs")["items"]
    claim = first.ledger.claim("run", run, "a worker that dies")
    assert isinstance(claim, Claim)
    first.services.redis.delete(keys.QUEUES["run"])
    wait_for(lambda: record(first, run).state == "queued", "the run is queued again")
    time.sleep(2.5)  # two more turns of both reapers
    again = record(second, run)
    assert (again.state, again.attempt, again.deaths) == ("queued", 2, 1)
    assert messages(first, run) == 1


def test_what_one_backend_saw_before_the_other_acted_takes_nobody_s_lease(two: tuple[Backend, Backend]) -> None:
    first, second = two
    run = first.http.post("/runs", json={"preset": "demo", "dataset": {"id": "clips"}}).json()["id"]
    assert isinstance(first.ledger.claim("run", run, "a worker that dies"), Claim)
    seen = record(second, run)
    assert isinstance(first.ledger.reap("run", run, seen, "silent"), Moved)
    healthy = second.ledger.claim("run", run, "a healthy worker")
    assert isinstance(healthy, Claim)
    assert second.ledger.reap("run", run, seen, "silent") is Change.REFUSED
    assert first.ledger.renew(healthy) is Renewal.OK
    assert (record(first, run).state, record(first, run).attempt) == ("running", 2)


def test_two_backends_bring_back_an_emptied_redis_once(two: tuple[Backend, Backend]) -> None:
    first, second = two
    runs = sorted(path.name for path in first.home.runs.iterdir())
    first.services.redis.flushdb()
    wait_for(lambda: first.services.live.generation() is not None, "the ledger is rebuilt")
    for backend in two:
        assert sorted(run["id"] for run in backend.get("/runs")["items"]) == runs
    assert second.get("/datasets")["items"] == first.get("/datasets")["items"]


@pytest.mark.stack
def test_a_second_stack_is_refused_and_disturbs_nothing(stack: RunningStack, api: Api) -> None:
    def processes() -> dict[str, Any]:
        return dict(json.loads((stack.home / "stack.json").read_text())["processes"])

    before, files = processes(), sorted(path.name for path in stack.home.iterdir())
    log = stack.home.with_name("up.log")
    told = log.stat().st_size
    second = start_stack(stack.home, "--auth")
    assert second.wait(30) == 1
    message = log.read_bytes()[told:].decode()
    assert f"process {stack.pid} serves it already" in message
    assert stack.ui_url in message
    assert "--home" in message
    assert "Traceback" not in message
    assert api.http.get("/health/ready").status_code == 200
    after = processes()
    assert {name: entry["pid"] for name, entry in after.items()} == {name: e["pid"] for name, e in before.items()}
    assert sorted(path.name for path in stack.home.iterdir()) == files
