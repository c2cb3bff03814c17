"""A part of `make faults`: real training children on a full disk and after a power loss end as an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis

from tests.faults.limits import file_size_limit
from tests.worker.runtime.test_worker import DATA, VOLATILE
from tests.worker.runtime.test_worker import SPEC as LONGER
from worker.contract.events import EpochFinished
from worker.contract.journal import read_events
from worker.contract.layout import Home, RunFolder
from worker.contract.ledger import Ledger
from worker.contract.lock import read_holder
from worker.contract.record import JobFacts, JobRecord, SpecRecord
from worker.contract.settings import Settings
from worker.engine import checkpoint
from worker.runtime.supervisor import Surroundings, supervise

EPOCHS = 6
SPEC = LONGER.model_copy(update={"epochs": EPOCHS})


class Trainings:
    """A home with a prepared dataset, and runs that are trained by the real supervisor in this process."""

    def __init__(self, home: Home, url: str) -> None:
        self.home = home
        self.ledger = Ledger(redis.Redis.from_url(url))
        settings = Settings(home=home.path, redis_url=url, min_free_bytes=0, min_free_share=0)
        self.around = Surroundings(settings, home, self.ledger, "w@h", lambda *_: None, lambda: False)

    def accept(self, kind: Any, job_id: str, spec: Any) -> None:
        folder = self.home.run(job_id) if kind == "run" else self.home.dataset(job_id)
        folder.path.mkdir(parents=True)
        SpecRecord(id=job_id, created_at=datetime.now(UTC), spec=spec.model_dump(mode="json")).write(folder.spec)
        self.ledger.create(kind, job_id, created_ms=1, facts=JobFacts())

    def attempt(self, run_id: str) -> JobRecord:
        """Looks at a run as a worker does that got a message, and returns it after that attempt."""
        supervise("run", run_id, self.around)
        record = self.ledger.get("run", run_id)
        assert record is not None
        return record

    def attempt_killed_after(self, run_id: str, epoch: int) -> JobRecord:
        """Likewise; the child is killed once it has finished an epoch."""
        folder = self.home.run(run_id)

        def kill() -> None:
            while not any(isinstance(event, EpochFinished) and event.epoch >= epoch for event in events_of(folder)):
                time.sleep(0.01)
            holder = read_holder(folder.lock)
            assert holder is not None
            os.kill(holder.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        record = self.attempt(run_id)
        killer.join()
        return record

    def results(self, run_id: str) -> tuple[Any, ...]:
        """Returns all numbers of a finished run: of its events, tables and trajectories."""
        folder = self.home.run(run_id)
        events = events_of(folder)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert list(folder.path.rglob("*partial*")) == []
        kept = [event.model_dump(mode="json", exclude=VOLATILE) for event in events]
        told = [event for event in kept if event["type"] in ("epoch_finished", "run_finished")]
        tables = [pq.read_table(folder.sample_table(epoch)).to_pylist() for epoch in range(1, EPOCHS + 1)]
        return json.dumps(told, sort_keys=True), json.dumps(tables), folder.gaps.read_bytes()


def events_of(folder: RunFolder) -> list[Any]:
    return read_events(folder.events) if folder.events.exists() else []


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory, valkey_server: Any) -> Iterator[Trainings]:
    home = Home(tmp_path_factory.mktemp("trainings") / "home")
    home.create()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GAPSCOPE_REDIS_URL", valkey_server.url)
        trainings = Trainings(home, valkey_server.url)
        trainings.accept("dataset", DATA.dataset_id(), DATA)
        supervise("dataset", DATA.dataset_id(), trainings.around)
        trainings.accept("run", "undisturbed", SPEC)
        assert trainings.attempt("undisturbed").state == "finished"
        yield trainings


@pytest.mark.parametrize("what", ["samples", "checkpoint"])
def test_a_child_on_a_full_disk_waits_and_goes_on_when_there_is_room(trainings: Trainings, what: str) -> None:
    run, sound = f"full-{what}", trainings.home.run("undisturbed")
    trainings.accept("run", run, SPEC)
    whole = sound.sample_table(1) if what == "samples" else min(sound.checkpoints.iterdir())
    for _ in range(2):
        with file_size_limit(whole.stat().st_size // 2):  # the child has it too
            record = trainings.attempt(run)
        assert (record.state, record.attempt, record.deaths) == ("queued", 1, 0)
        assert record.waiting_for is not None
        assert record.waiting_for.startswith("disk space (OSError")
        assert checkpoint.newest(trainings.home.run(run).checkpoints) is None
    assert trainings.attempt(run).state == "finished"
    assert trainings.results(run) == trainings.results("undisturbed")


def torn(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("what", ["event", "checkpoint", "samples"])
def test_a_child_after_a_power_loss_goes_on_from_what_is_whole(trainings: Trainings, what: str) -> None:
    run = f"torn-{what}"
    trainings.accept("run", run, SPEC)
    record = trainings.attempt_killed_after(run, 3)
    assert (record.state, record.attempt) == ("queued", 2)
    folder = trainings.home.run(run)
    newest = max(checkpoint.epoch_checkpoints(folder.checkpoints).values())
    if what == "event":
        lines = folder.events.read_bytes().splitlines(keepends=True)
        os.truncate(folder.events, sum(map(len, lines)) - len(lines[-1]) // 2)
    elif what == "checkpoint":
        torn(newest)
    else:  # its event and checkpoint would have come later
        for path in (folder.sample_table(5), folder.samples / ".epoch-00005.parquet.1.partial"):
            path.write_bytes((trainings.home.run("undisturbed").sample_table(5)).read_bytes()[:1_000])
    assert trainings.attempt(run).state == "finished"
    assert trainings.results(run) == trainings.results("undisturbed")
