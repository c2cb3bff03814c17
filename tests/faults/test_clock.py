"""The wall clock steps by a day, ahead and back: leases rest on clocks that do not, and tokens rise all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.worker.runtime.test_supervisor import Bench
from worker.contract import keys
from worker.contract.ledger import Ledger
from worker.contract.lock import FolderLock, read_holder
from worker.contract.record import Claim, JobFacts
from worker.runtime.supervisor import Supervisor

DAY_S = 86_400.0


def test_a_holder_beats_on_whatever_the_wall_clock_does(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    offset = [0.0]
    true_time, true_time_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: true_time() + offset[0])
    monkeypatch.setattr(time, "time_ns", lambda: true_time_ns() + int(offset[0] * 1e9))
    job = bench.job("work")
    claim = bench.claim(job)
    beats: list[int] = []

    def step() -> None:
        for offset[0] in (DAY_S, -DAY_S):
            beats.append(bench.record(job.id).beat)
            time.sleep(1.6)  # a beat each second
        beats.append(bench.record(job.id).beat)
        bench.stop.set()

    thread = bench.meanwhile(job, step)
    Supervisor(job, claim, bench.around()).run()
    thread.join()
    assert beats[0] < beats[1] < beats[2], beats
    assert beats[2] <= beats[0] + 5  # and no faster than before
    record = bench.record(job.id)
    assert (record.state, record.attempt, record.deaths, record.reason) == (
        "queued", 1, 0, "the worker was asked to stop",
    )  # fmt: skip


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


def claimed(ledger: Ledger, holder: str) -> Claim:
    claim = ledger.claim("run", "run-1", holder)
    assert isinstance(claim, Claim)
    return claim


def test_a_claim_after_the_servers_clock_went_back_beats_the_claims_before(client: redis.Redis, tmp_path: Path) -> None:
    ledger, lock = Ledger(client), tmp_path / "lock"
    ledger.create("run", "run-1", created_ms=1, facts=JobFacts())
    ahead = int((time.time() + DAY_S) * 1_000)
    client.hset(keys.job("run", "run-1"), "token", str(ahead))  # as a claim left it, a day ahead
    before = claimed(ledger, "a")
    assert before.token > ahead
    FolderLock.acquire(lock, token=before.token).release()
    ledger.requeue("run", "run-1", before.token, "it died")
    after = claimed(ledger, "b")
    assert after.token > before.token
    FolderLock.acquire(lock, token=after.token).release()

    client.flushall()  # and rebuilt from the folder, whose lock file knows the token
    holder = read_holder(lock)
    assert holder is not None
    ledger.restore("run", "run-1", state="queued", created_ms=1, facts=JobFacts(), token=holder.token)
    again = claimed(ledger, "c")
    assert again.token > after.token
    FolderLock.acquire(lock, token=again.token).release()
