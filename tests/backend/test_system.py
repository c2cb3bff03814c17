"""System says what runs, what it takes, and what is wrong."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from tests.backend.conftest import Backend, serving, settings_for
from tests.backend.folders import write_dataset, write_run
from tests.conftest import ValkeyServer
from worker.contract.errors import Problem
from worker.contract.record import Claim


def test_damaged_folders_and_failed_runs_are_named_with_their_reason(backend: Backend) -> None:
    write_dataset(backend.home)
    ids = [backend.http.post("/runs", json={"preset": "demo", "name": "bad"}).json()["id"] for _ in range(2)]
    backend.home.run(ids[0]).spec.write_text("{")
    unlisted = write_run(backend.home)
    old = time.time() - 3_600
    os.utime(backend.home.run(unlisted).spec, (old, old))
    backend.ledger.wait("run", ids[1], None)
    claim = backend.ledger.claim("run", ids[1], "holder")
    assert isinstance(claim, Claim)
    error = Problem(title="Training failed", status=500, detail="The loss is NaN.", code="non-finite-loss")
    backend.ledger.transition("run", ids[1], claim.token, {"running"}, "failed", error=error)
    facts = backend.get("/system")
    reasons = {folder["id"]: folder["reason"] for folder in facts["damaged_folders"] if folder["kind"] == "run"}
    assert set(reasons) == {ids[0], unlisted}
    assert "spec.json cannot be read" in reasons[ids[0]]
    assert "not listed" in reasons[unlisted]
    (failed,) = facts["failed_runs"]
    assert (failed["id"], failed["name"], failed["error"]["detail"]) == (ids[1], "bad", "The loss is NaN.")
    assert facts["disk"]["stores_bytes"] > 0


def test_without_redis_the_rest_is_told(valkey_server: ValkeyServer, valkey_url: str, tmp_path: Path) -> None:
    with serving(settings_for(tmp_path / "home", valkey_url)) as backend:
        valkey_server.kill()
        try:
            facts = backend.get("/system")
        finally:
            valkey_server.start()
        assert facts["redis"] is None
        assert facts["workers"] == []
        assert facts["disk"]["total_bytes"] > 0
        assert json.dumps(facts["versions"])
