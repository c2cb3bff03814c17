"""A process that stands still for longer than its lease and comes back: it writes nothing any more, anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from backend.beats import BeatWatch
from worker.contract import keys
from worker.contract.events import RunInterrupted
from worker.contract.journal import Journal, read_events
from worker.contract.layout import RunFolder
from worker.contract.ledger import Ledger
from worker.contract.record import Claim, JobFacts, Moved

RUN = "run-1"
LEASE_S = 1.0
LOST = 21
HOLDER = f"""
import sys, time
from pathlib import Path
import redis
from worker.contract.errors import LostLeaseError
from worker.contract.events import RunInterrupted
from worker.contract.journal import Journal
from worker.contract.layout import RunFolder
from worker.contract.ledger import Ledger

ledger = Ledger(redis.Redis.from_url(sys.argv[2]))
claim = ledger.claim("run", "{RUN}", "first")
print("claimed", flush=True)
sys.stdin.readline()
try:
    journal = Journal.open(RunFolder(Path(sys.argv[1])), run_id="{RUN}", token=claim.token, attempt=1, ledger=ledger)
    print("writes", flush=True)
    while True:
        ledger.renew(claim)
        journal.append(RunInterrupted(reason="first", epoch=0))
        time.sleep(0.02)
except LostLeaseError:
    sys.exit({LOST})
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / RUN)
    folder.path.mkdir()
    return folder


@pytest.fixture
def ledger(valkey_url: str) -> Iterator[Ledger]:
    with redis.Redis.from_url(valkey_url) as client:
        ledger = Ledger(client)
        ledger.create("run", RUN, created_ms=1, facts=JobFacts())
        yield ledger


@pytest.fixture
def holder(folder: RunFolder, ledger: Ledger, valkey_url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has claimed the run and waits for a line before it writes."""
    command = [sys.executable, "-c", HOLDER, str(folder.path), valkey_url]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert said(process) == "claimed"
    yield process
    process.kill()
    process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def let_go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def taken_over(folder: RunFolder, ledger: Ledger) -> Journal:
    """Waits until the lease is over, as the reaper does, and returns the journal of a second holder."""
    watch = BeatWatch(LEASE_S)
    while not (stale := watch.look(ledger.active("run"), time.monotonic())):
        time.sleep(0.05)
    assert isinstance(ledger.reap("run", RUN, stale[0], "silent"), Moved)
    claim = ledger.claim("run", RUN, "second")
    assert isinstance(claim, Claim)
    return Journal.open(folder, run_id=RUN, token=claim.token, attempt=2, ledger=ledger, wait_s=0.2)


def reasons(folder: RunFolder) -> list[str]:
    events = read_events(folder.events)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return [event.reason for event in events if isinstance(event, RunInterrupted)]


def test_a_writer_that_stood_still_for_longer_than_its_lease_writes_no_more(
    folder: RunFolder, ledger: Ledger, holder: subprocess.Popen[str]
) -> None:
    let_go_on(holder)
    assert said(holder) == "writes"
    while len(read_events(folder.events) if folder.events.exists() else []) < 3:
        time.sleep(0.01)
    os.kill(holder.pid, signal.SIGSTOP)
    journal = taken_over(folder, ledger)
    num_before = journal.seq
    journal.append(RunInterrupted(reason="second", epoch=0))
    os.kill(holder.pid, signal.SIGCONT)
    assert holder.wait(5) == -signal.SIGKILL  # its successor could not wait for it
    journal.append(RunInterrupted(reason="second", epoch=0))
    journal.close()
    assert reasons(folder) == ["first"] * num_before + ["second"] * 2


def test_one_that_stood_still_between_claim_and_lock_finds_the_folder_closed(
    folder: RunFolder, ledger: Ledger, holder: subprocess.Popen[str], valkey_url: str
) -> None:
    os.kill(holder.pid, signal.SIGSTOP)
    journal = taken_over(folder, ledger)
    journal.append(RunInterrupted(reason="second", epoch=0))
    journal.close()  # the second is done before the first wakes up
    before = ledger.get("run", RUN)
    let_go_on(holder)
    os.kill(holder.pid, signal.SIGCONT)
    assert holder.wait(15) == LOST
    assert reasons(folder) == ["second"]
    assert ledger.get("run", RUN) == before
    with redis.Redis.from_url(valkey_url) as client:
        assert client.xlen(keys.events(RUN)) == 1
