"""Real workers on a real server, and a small reaper in the backend's place."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from celery import Celery

from worker.contract import keys
from worker.contract.events import RunResumed
from worker.contract.journal import read_events
from worker.contract.keys import JobKind
from worker.contract.layout import DatasetFolder, Home, RunFolder
from worker.contract.ledger import Ledger
from worker.contract.record import JobFacts, JobRecord, SpecRecord
from worker.contract.spec.base import Spec

ROOT = Path(__file__).parents[3]
STALE_S = 6.0  # as in the backend: less, and a busy machine takes healthy jobs away


class Workers:
    """A home with its workers, driven as the backend drives them."""

    def __init__(self, home: Home, url: str) -> None:
        self.home = home
        self.url = url
        self.client = redis.Redis.from_url(url)
        self.ledger = Ledger(self.client)
        self._celery = Celery(broker=url)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stop = threading.Event()
        self._reaper = threading.Thread(target=self._reap)
        self._reaper.start()

    def start(self, queue: str) -> None:
        """Starts a worker and waits until it beats."""
        command = [
            *(sys.executable, "-m", "celery", "--app", "worker.runtime.celery_app", "worker"),
            *("--queues", queue, "--hostname", f"{queue}@%h", "--pool", "prefork", "--concurrency", "1"),
            *("--without-gossip", "--without-mingle", "--loglevel", "INFO"),
        ]
        environment = os.environ | {"GAPSCOPE_HOME": str(self.home.path), "GAPSCOPE_REDIS_URL": self.url}
        self.client.delete(*self.client.keys(f"{keys.PREFIX}:worker:{queue}@*"), "nothing")
        with (self.home.path / f"{queue}.log").open("ab") as log:
            self._processes[queue] = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.until(lambda: self.client.keys(f"{keys.PREFIX}:worker:{queue}@*"), f"the {queue} worker beats")

    def main(self, queue: str) -> subprocess.Popen[bytes]:
        """Returns the main process of a worker."""
        return self._processes[queue]

    def pool(self, queue: str) -> psutil.Process:
        """Returns the pool process of a worker."""
        return next(
            child
            for child in psutil.Process(self.main(queue).pid).children()
            if "resource_tracker" not in " ".join(child.cmdline())
        )

    def child(self, job_id: str) -> psutil.Process | None:
        """Returns the child that works on a job, if there is one."""
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if job_id in command and str(self.home.path) in process_environment(process):
                return process
        return None

    def accept(self, kind: JobKind, job_id: str, spec: Spec) -> None:
        """Does what the backend does before its 202."""
        folder: RunFolder | DatasetFolder = self.home.run(job_id) if kind == "run" else self.home.dataset(job_id)
        folder.path.mkdir(parents=True)
        record = SpecRecord(id=job_id, created_at=datetime.now(UTC), spec=spec.model_dump(mode="json"))
        record.write(folder.spec)
        self.ledger.create(kind, job_id, created_ms=int(time.time() * 1_000), facts=JobFacts(name=job_id))
        self.send(kind, job_id)

    def send(self, kind: JobKind, job_id: str) -> None:
        """Sends a message."""
        self._celery.send_task(keys.TASKS[kind], args=[job_id], queue=keys.QUEUES[kind])

    def record(self, kind: JobKind, job_id: str) -> JobRecord:
        """Returns a job."""
        record = self.ledger.get(kind, job_id)
        assert record is not None
        return record

    def until(self, read: Callable[[], Any], what: str, timeout_s: float = 180.0) -> Any:
        """Returns the first true value of `read()`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if value := read():
                return value
            time.sleep(0.05)
        logs = "".join(path.read_text()[-3_000:] for path in self.home.path.glob("*.log"))
        logs += "".join(path.read_text()[-3_000:] for path in self.home.path.glob("*/*/log.txt"))
        raise AssertionError(f"{what}: not within {timeout_s:.0f} s\n{logs}")

    def until_state(self, kind: JobKind, job_id: str, state: str) -> JobRecord:
        """Waits until a job is in a state."""

        def arrived() -> JobRecord | None:
            record = self.record(kind, job_id)
            assert record.state == state or not record.ended, f"{record.state}: {record.error}"
            return record if record.state == state else None

        found: JobRecord = self.until(arrived, f"{kind} {job_id} becomes {state}")
        return found

    def until_epoch(self, run_id: str, epoch: int, attempt: int) -> None:
        """Waits until an attempt at a run has finished an epoch."""

        def arrived() -> bool:
            record = self.record("run", run_id)
            assert not record.ended, f"{record.state}: {record.error}"
            return record.state == "running" and record.attempt == attempt and record.epoch >= epoch

        self.until(arrived, f"epoch {epoch} of {run_id}, attempt {attempt}")

    def until_resumed(self, run_id: str, times: int) -> None:
        """Waits until a run has told that often of being resumed: an attempt that ends before leaves no trace."""
        path = self.home.run(run_id).events
        self.until(
            lambda: sum(isinstance(event, RunResumed) for event in read_events(path)) == times,
            f"{run_id} is resumed, {times} in all",
        )

    def close(self) -> None:
        """Kills what is left."""
        self._stop.set()
        self._reaper.join()
        for process in self._processes.values():
            below = []
            with contextlib.suppress(psutil.NoSuchProcess):
                below = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            for child in below:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(signal.SIGKILL)
        self._celery.close()
        self.client.close()

    def _reap(self) -> None:
        seen: dict[tuple[str, str], tuple[tuple[int, int, str], float]] = {}
        while not self._stop.wait(0.3):
            with contextlib.suppress(redis.RedisError):
                for kind in keys.QUEUES:
                    for record in self.ledger.active(kind):
                        self._look(record, seen)

    def _look(self, record: JobRecord, seen: dict[tuple[str, str], tuple[tuple[int, int, str], float]]) -> None:
        key, mark = (record.kind, record.id), (record.token, record.beat, record.state)
        if key not in seen or seen[key][0] != mark:
            seen[key] = (mark, time.monotonic())
        elif time.monotonic() - seen[key][1] > STALE_S:
            seen.pop(key)
            if record.state != "queued":
                self.ledger.reap(record.kind, record.id, record, "its worker was silent")
            if record.waiting_for is None:
                self.send(record.kind, record.id)


def process_environment(process: psutil.Process) -> str:
    """Returns the home that a process works in."""
    with contextlib.suppress(psutil.Error):
        return process.environ().get("GAPSCOPE_HOME", "")
    return ""


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory, valkey_server: Any) -> Iterator[Workers]:
    """One home for a module: preparing data and starting torch take most of the time."""
    home = Home(tmp_path_factory.mktemp("workers") / "home")
    home.create()
    running = Workers(home, valkey_server.url)
    running.client.flushall()
    yield running
    running.close()
