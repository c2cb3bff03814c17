"""The supervisor with a real server and a real child process, one that needs no torch."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from worker.contract import keys
from worker.contract.errors import LostLeaseError
from worker.contract.events import RunFailed
from worker.contract.journal import read_events
from worker.contract.keys import JobKind
from worker.contract.layout import Home
from worker.contract.ledger import Ledger
from worker.contract.lock import read_holder, start_time
from worker.contract.record import Claim, JobFacts, JobRecord, Outcome, SpecRecord, read_outcome
from worker.contract.settings import Settings
from worker.contract.spec import AvDigits, RunSpec
from worker.runtime import supervisor
from worker.runtime.jobs import DatasetJob
from worker.runtime.supervisor import Supervisor, Surroundings, supervise

DATASET = AvDigits(seed=1)


class FakeJob(DatasetJob):
    module = "tests.worker.runtime.fake_child"
    silence_factor = 1.0


class Bench:
    """A home, a ledger and jobs that do as they are told."""

    def __init__(self, home: Home, url: str) -> None:
        self.home = home
        self.settings = Settings(home=home.path, redis_url=url, cancel_grace_s=1.0, hang_s=30.0, max_log_bytes=65_536)
        self.client = redis.Redis.from_url(url)
        self.ledger = Ledger(self.client)
        self.sent: list[tuple[JobKind, str]] = []
        self.stop = threading.Event()

    def around(self, **changes: Any) -> Surroundings:
        settings = self.settings.model_copy(update=changes)
        return Surroundings(
            settings, self.home, self.ledger, "w@h", lambda *job: self.sent.append(job), self.stop.is_set
        )

    def job(self, plays: str, job_id: str = "d1") -> FakeJob:
        job = FakeJob(self.home, job_id)
        job.path.mkdir(exist_ok=True)
        (job.path / "play").write_text(plays)
        self.ledger.create("dataset", job_id, created_ms=1, facts=JobFacts())
        return job

    def claim(self, job: FakeJob) -> Claim:
        claim = self.ledger.claim("dataset", job.id, self.around().holder())
        assert isinstance(claim, Claim)
        return claim

    def work(self, job: FakeJob, **changes: Any) -> JobRecord:
        Supervisor(job, self.claim(job), self.around(**changes)).run()
        return self.record(job.id)

    def record(self, job_id: str, kind: JobKind = "dataset") -> JobRecord:
        record = self.ledger.get(kind, job_id)
        assert record is not None
        return record

    def meanwhile(self, job: FakeJob, act: Callable[[], object]) -> threading.Thread:
        """Acts once the child of a job is at work."""

        def run() -> None:
            deadline = time.monotonic() + 30
            while not (job.path / "ready").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            act()

        thread = threading.Thread(target=run)
        thread.start()
        return thread


@pytest.fixture
def bench(tmp_path: Path, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    home = Home(tmp_path / "home")
    home.create()
    monkeypatch.setenv("GAPSCOPE_REDIS_URL", valkey_url)
    bench = Bench(home, valkey_url)
    yield bench
    bench.client.close()


def test_a_job_is_finished(bench: Bench) -> None:
    job = bench.job("finish")
    record = bench.work(job)
    assert (record.state, record.attempt, record.holder) == ("finished", 1, None)
    assert read_outcome(job.outcome) is not None
    assert job.log.read_text() == "attempt 1: finish\n"
    assert bench.sent == []


def test_a_job_waits_while_the_disk_is_nearly_full_and_goes_on_when_it_is_not(bench: Bench) -> None:
    job = bench.job("finish")
    record = bench.work(job, min_free_bytes=2**60)
    assert (record.state, record.attempt, record.deaths) == ("queued", 1, 0)
    assert record.waiting_for is not None
    assert record.waiting_for.startswith("free disk space")
    assert not job.log.exists()
    record = bench.work(job)
    assert (record.state, record.waiting_for) == ("finished", None)


def test_a_death_on_a_full_disk_costs_no_try(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = bench.job("crash")
    answers = iter([None, "free disk space (7 MiB more)"])
    monkeypatch.setattr(supervisor, "missing_space", lambda settings: next(answers))
    record = bench.work(job)
    assert (record.state, record.waiting_for, record.deaths) == ("queued", "free disk space (7 MiB more)", 0)


def test_a_disk_that_takes_no_more_makes_the_job_wait_at_no_cost_of_tries(bench: Bench) -> None:
    job = bench.job("full finish")
    record = bench.work(job)
    assert (record.state, record.attempt, record.deaths) == ("queued", 1, 0)
    assert record.waiting_for == "disk space (OSError: [Errno 28] No space left on device)"
    assert bench.sent == []  # the reaper looks again after a while
    assert bench.work(job).state == "finished"


def test_a_message_too_many_is_harmless(bench: Bench) -> None:
    job = bench.job("finish")
    bench.work(job)
    before = bench.record(job.id)
    supervise("dataset", job.id, bench.around())
    supervise("dataset", "nothing", bench.around())
    assert bench.record(job.id) == before


def test_a_child_killed_by_a_signal_is_queued_again_at_once(bench: Bench) -> None:
    job = bench.job("crash finish")
    record = bench.work(job)
    assert (record.state, record.attempt, record.deaths) == ("queued", 2, 1)
    assert record.reason == "the process was killed by SIGKILL"
    assert bench.sent == [("dataset", "d1")]
    assert bench.work(job).state == "finished"


def test_a_child_that_says_why_it_gives_up_is_tried_again(bench: Bench) -> None:
    record = bench.work(bench.job("retry"))
    assert (record.state, record.attempt, record.reason) == ("queued", 2, "out of memory")


def test_after_too_many_deaths_the_job_fails_with_a_reason(bench: Bench) -> None:
    job = bench.job("crash")
    for _ in range(6):
        assert bench.work(job).state == "queued"
    record = bench.work(job)
    assert record.state == "failed"
    assert record.error is not None
    assert record.error.code == "process-died"
    assert "SIGKILL" in record.error.detail
    outcome = read_outcome(job.outcome)
    assert outcome is not None
    assert outcome.error == record.error


def test_cancelling_lets_the_child_leave(bench: Bench) -> None:
    job = bench.job("work")
    thread = bench.meanwhile(job, lambda: bench.ledger.cancel("dataset", job.id))
    record = bench.work(job)
    thread.join()
    assert record.state == "cancelled"
    assert job.cancel.exists()


def test_a_child_that_does_not_leave_is_killed_after_the_grace(bench: Bench) -> None:
    job = bench.job("deaf")
    begun = time.monotonic()
    thread = bench.meanwhile(job, lambda: bench.ledger.cancel("dataset", job.id))
    record = bench.work(job)
    thread.join()
    assert record.state == "cancelled"
    assert time.monotonic() - begun < 15
    outcome = read_outcome(job.outcome)
    assert outcome is not None
    assert outcome.state == "cancelled"


def test_a_stopping_worker_gives_its_job_back_as_the_same_attempt(bench: Bench) -> None:
    job = bench.job("work")
    thread = bench.meanwhile(job, bench.stop.set)
    record = bench.work(job)
    thread.join()
    assert (record.state, record.attempt, record.deaths) == ("queued", 1, 0)
    assert bench.sent == [("dataset", "d1")]
    supervise("dataset", job.id, bench.around())  # a stopping worker takes nothing
    assert bench.record(job.id).state == "queued"


def test_a_stopping_worker_waits_for_no_deaf_child(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_GRACE_S", 0.5)
    job = bench.job("deaf")
    thread = bench.meanwhile(job, bench.stop.set)
    record = bench.work(job)
    thread.join()
    assert (record.state, record.attempt) == ("queued", 1)


def test_a_silent_child_is_made_to_show_its_stacks_and_killed(bench: Bench) -> None:
    job = bench.job("hang")
    record = bench.work(job, hang_s=1.5)
    assert (record.state, record.attempt) == ("queued", 2)
    assert record.reason is not None
    assert "hung" in record.reason
    log = job.log.read_text()
    assert "most recent call first" in log
    assert "in play" in log


def test_a_holder_whose_job_was_taken_kills_its_child(bench: Bench) -> None:
    job = bench.job("work")

    def take() -> None:
        record = bench.record(job.id)
        bench.ledger.requeue("dataset", job.id, record.token, "taken in the test")
        bench.ledger.claim("dataset", job.id, "another")

    thread = bench.meanwhile(job, take)
    with pytest.raises(LostLeaseError):
        bench.work(job)
    thread.join()
    holder = read_holder(job.path / "lock")
    assert holder is not None
    assert start_time(holder.pid) != holder.start_time
    assert bench.record(job.id).holder == "another"


def test_a_reaped_job_that_nobody_took_goes_on(bench: Bench) -> None:
    job = bench.job("work")

    def reap_and_cancel() -> None:
        record = bench.record(job.id)
        bench.ledger.reap("dataset", job.id, record, "silent")
        deadline = time.monotonic() + 10
        while bench.record(job.id).state != "running" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert bench.record(job.id).attempt == 1
        bench.ledger.cancel("dataset", job.id)

    thread = bench.meanwhile(job, reap_and_cancel)
    assert bench.work(job).state == "cancelled"
    thread.join()


def test_an_outcome_left_by_a_dead_supervisor_is_only_told(bench: Bench) -> None:
    job = bench.job("crash")
    Outcome.now("finished").write(job.outcome)
    assert bench.work(job).state == "finished"
    assert not job.log.exists()


def test_a_cancel_request_on_the_disk_counts_without_redis(bench: Bench) -> None:
    job = bench.job("crash")
    job.cancel.write_text("{}")
    assert bench.work(job).state == "cancelled"


def test_a_log_does_not_grow_without_bound(bench: Bench) -> None:
    job = bench.job("shout")
    thread = bench.meanwhile(job, lambda: (time.sleep(1.5), bench.stop.set()))
    bench.work(job)
    thread.join()
    assert job.log.stat().st_size < 65_536
    assert job.log.with_name("log.txt.1").stat().st_size > 65_536


def test_a_redis_outage_stops_nobody(tmp_path: Path, valkey_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "home")
    home.create()
    monkeypatch.setenv("GAPSCOPE_REDIS_URL", valkey_server.url)
    bench = Bench(home, valkey_server.url)
    bench.client.flushall()
    bench.ledger = Ledger(redis.Redis.from_url(valkey_server.url, retry=None, socket_timeout=1))
    job = bench.job("work")
    pid = [0]

    def outage() -> None:
        holder = read_holder(job.path / "lock")
        assert holder is not None
        pid[0] = holder.pid
        valkey_server.kill()
        time.sleep(2.5)
        os.kill(pid[0], 15)  # the child leaves while Redis is away
        time.sleep(0.5)
        valkey_server.start()

    thread = bench.meanwhile(job, outage)
    record = bench.work(job)
    thread.join()
    assert (record.state, record.attempt) == ("queued", 1)
    bench.client.close()


def run_of(bench: Bench, run_id: str = "r1") -> str:
    dataset_id = DATASET.dataset_id()
    for folder, spec in ((bench.home.dataset(dataset_id), DATASET), (bench.home.run(run_id), RunSpec(dataset=DATASET))):
        folder.path.mkdir(exist_ok=True)
        SpecRecord(id=folder.path.name, created_at=datetime.now(UTC), spec=spec.model_dump(mode="json")).write(
            folder.spec
        )
    bench.ledger.create("dataset", dataset_id, created_ms=1, facts=JobFacts())
    bench.ledger.create("run", run_id, created_ms=1, facts=JobFacts())
    return dataset_id


def test_a_run_waits_for_its_dataset_and_is_called_when_it_has_ended(bench: Bench) -> None:
    dataset_id = run_of(bench)
    supervise("run", "r1", bench.around())
    record = bench.record("r1", "run")
    assert (record.state, record.waiting_for) == ("queued", f"dataset {dataset_id}")
    job = bench.job("finish", dataset_id)
    bench.work(job)
    assert bench.sent == [("run", "r1")]


def test_a_run_fails_with_its_dataset(bench: Bench) -> None:
    dataset_id = run_of(bench)
    (bench.home.dataset(dataset_id).path / "cancel.json").touch()
    supervise("dataset", dataset_id, bench.around())
    supervise("run", "r1", bench.around())
    record = bench.record("r1", "run")
    assert record.state == "failed"
    assert record.error is not None
    assert dataset_id in record.error.detail
    [event] = read_events(bench.home.run("r1").events)
    assert isinstance(event, RunFailed)
    assert event.error == record.error
    outcome = read_outcome(bench.home.run("r1").outcome)
    assert outcome is not None
    assert outcome.state == "failed"


@pytest.mark.parametrize("name", ["spec", "outcome"])
def test_a_run_whose_dataset_is_set_apart_waits_for_the_rebuild_and_then_fails_with_the_reason(
    bench: Bench, name: str
) -> None:
    dataset_id = run_of(bench)
    damaged: Path = getattr(bench.home.dataset(dataset_id), name)
    damaged.write_text("{")
    bench.client.delete(keys.job("dataset", dataset_id))
    supervise("run", "r1", bench.around())
    assert bench.record("r1", "run").state == "queued"
    bench.client.set(keys.GENERATION, "1")
    supervise("run", "r1", bench.around())
    record = bench.record("r1", "run")
    assert record.error is not None
    assert (record.state, record.error.code) == ("failed", "record-corrupt")
    assert str(damaged) in record.error.detail
    [event] = read_events(bench.home.run("r1").events)
    assert isinstance(event, RunFailed)


def test_a_run_without_a_readable_spec_fails(bench: Bench) -> None:
    bench.home.run("r1").path.mkdir()
    bench.home.run("r1").spec.write_text("{")
    bench.ledger.create("run", "r1", created_ms=1, facts=JobFacts())
    supervise("run", "r1", bench.around())
    record = bench.record("r1", "run")
    assert record.error is not None
    assert (record.state, record.error.code) == ("failed", "record-corrupt")


def test_a_run_of_a_plugin_that_this_worker_lacks_fails_and_names_it(bench: Bench) -> None:
    folder = bench.home.run("r1")
    folder.path.mkdir()
    spec = RunSpec(dataset=DATASET).model_dump(mode="json") | {"objective": {"kind": "theirs"}}
    SpecRecord(id="r1", created_at=datetime.now(UTC), spec=spec).write(folder.spec)
    bench.ledger.create("run", "r1", created_ms=1, facts=JobFacts())
    supervise("run", "r1", bench.around())
    record = bench.record("r1", "run")
    assert record.error is not None
    assert (record.state, record.error.code) == ("failed", "implementation-missing")
    assert "'theirs'" in record.error.detail
    [event] = read_events(folder.events)
    assert isinstance(event, RunFailed)


def test_a_job_whose_outcome_cannot_be_read_fails_instead_of_being_tried_for_ever(bench: Bench) -> None:
    dataset_id = run_of(bench)
    bench.home.dataset(dataset_id).outcome.write_text("{")
    supervise("dataset", dataset_id, bench.around())
    record = bench.record(dataset_id)
    assert record.error is not None
    assert (record.state, record.error.code) == ("failed", "record-corrupt")
