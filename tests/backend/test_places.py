"""Places in the queues: refused with a reason, shared fairly, never given twice; of what was refused nothing stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.access.keys import Role
from tests.backend.conftest import Backend, serving, settings_for, wait_for
from tests.backend.folders import write_run
from tests.conftest import ValkeyServer
from worker.contract.errors import HomeFullError, TooManyError
from worker.contract.record import JobFacts

DEMO = {"preset": "demo", "epochs": 3}


@pytest.fixture
def shared(tmp_path: Path, valkey_url: str) -> Iterator[Backend]:
    """A server that asks for keys, with four places for runs."""
    with serving(settings_for(tmp_path / "home", valkey_url, auth="on", max_queued_runs=4)) as backend:
        yield backend


def bearer(backend: Backend, name: str, role: Role = "runner") -> dict[str, str]:
    return {"Authorization": f"Bearer {backend.services.keys.create(name, role)[1]}"}


def test_one_user_cannot_take_all_places_and_keeps_their_share_after_a_loss_of_redis(shared: Backend) -> None:
    ada, grace = bearer(shared, "ada"), bearer(shared, "grace")
    mine = [shared.http.post("/runs", json=DEMO, headers=ada).json()["id"] for _ in range(2)]
    refused = shared.http.post("/runs", json=DEMO, headers=ada)
    assert "2 runs of yours wait" in shared.problem(refused, 429, "share-full")["detail"]
    assert int(refused.headers["retry-after"]) >= 5
    assert shared.http.post("/runs", json=DEMO, headers=grace).status_code == 202
    shared.services.redis.flushdb()
    wait_for(lambda: shared.ledger.count("run") == 3, "the ledger is rebuilt")
    shared.problem(shared.http.post("/runs", json=DEMO, headers=ada), 429, "share-full")
    assert shared.http.post("/runs", json=DEMO, headers=grace).status_code == 202
    shared.problem(shared.http.post("/runs", json=DEMO, headers=grace), 429, "queue-full")
    shared.problem(shared.http.post(f"/runs/{mine[0]}/clone", headers=ada), 429, "queue-full")
    assert len(list(shared.home.runs.iterdir())) == 4
    assert shared.http.post(f"/runs/{mine[0]}/cancel", headers=ada).status_code == 202
    assert shared.http.post("/runs", json=DEMO, headers=ada).status_code == 202
    shared.problem(shared.http.post(f"/runs/{mine[0]}/resume", headers=ada), 429, "queue-full")
    assert shared.home.run(mine[0]).outcome.exists()  # it still reads as cancelled, whatever is rebuilt


def test_of_many_requests_at_once_as_many_are_accepted_as_there_are_places(tmp_path: Path, valkey_url: str) -> None:
    with (
        serving(settings_for(tmp_path / "home", valkey_url, max_queued_runs=3)) as backend,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(lambda _: backend.http.post("/runs", json=DEMO), range(8)))
        assert Counter(answer.status_code for answer in answers) == {202: 3, 429: 5}
        assert {answer.json()["code"] for answer in answers if answer.status_code == 429} == {"queue-full"}
        accepted = {answer.json()["id"] for answer in answers if answer.status_code == 202}
        assert {path.name for path in backend.home.runs.iterdir()} == accepted
        assert list(backend.home.trash.iterdir()) == []


def test_whose_place_was_taken_meanwhile_leaves_nothing(tmp_path: Path, valkey_url: str) -> None:
    with serving(settings_for(tmp_path / "home", valkey_url, max_queued_jobs=1, max_runs=1)) as backend:
        tools = backend.services.tools
        for number, kind in enumerate(("score", "score")):
            folder = backend.home.scores / f"score-{number}"
            folder.mkdir()
            (folder / "file.mp4").write_bytes(b"x")
            arguments = {"created_ms": number, "facts": JobFacts(), "owner": "local", "folder": folder}
            if number == 0:
                tools.admit(kind, folder.name, **arguments)  # type: ignore[arg-type]
                continue
            with pytest.raises(TooManyError, match="1 scores wait already"):
                tools.admit(kind, folder.name, **arguments)  # type: ignore[arg-type]
        assert [path.name for path in backend.home.scores.iterdir()] == ["score-0"]
        assert list(backend.home.trash.iterdir()) == []
        tools.admit("run", "run-0", created_ms=0, facts=JobFacts(), owner="local", folder=None)
        with pytest.raises(HomeFullError, match="Delete some"):
            tools.admit("run", "run-1", created_ms=0, facts=JobFacts(), owner="local", folder=None)


def test_no_more_runs_are_kept_than_may_be(tmp_path: Path, valkey_server: ValkeyServer, valkey_url: str) -> None:
    with serving(settings_for(tmp_path / "home", valkey_url, max_runs=1)) as backend:
        run = write_run(backend.home)
        backend.services.redis.flushall()
        wait_for(lambda: backend.ledger.get("run", run), "the ledger is rebuilt")
        document = backend.problem(backend.http.post("/runs", json=DEMO), 507, "too-many-runs")
        assert document["title"] == "The home is full"
        assert "GAPSCOPE_MAX_RUNS" in document["detail"]
        assert [path.name for path in backend.home.runs.iterdir()] == [run]
        assert backend.http.delete(f"/runs/{run}").status_code == 200
        assert backend.http.post("/runs", json=DEMO).status_code == 202
