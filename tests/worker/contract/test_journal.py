"""The archive and its live copy: torn, behind, emptied, cut off. And the folder's lock between real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from worker.contract import keys
from worker.contract.errors import CorruptRecordError, GapscopeError, LostLeaseError, Problem, TrainingError
from worker.contract.event_size import LEFT_OUT, fitted
from worker.contract.events import (
    MAX_EVENT_BYTES,
    EpochFinished,
    Event,
    RunCancelled,
    RunFailed,
    RunInterrupted,
    parse_event,
)
from worker.contract.journal import EventReader, Journal, close_run, epoch_fields, outcome_of, read_events
from worker.contract.layout import RunFolder
from worker.contract.ledger import Ledger
from worker.contract.lock import FolderBusyError, FolderLock, host_name, read_holder, start_time
from worker.contract.record import Change, Claim, JobFacts, read_outcome

GOLDEN = Path(__file__).parents[2] / "golden" / "events"
RUN = "run-1"


def epoch(number: int) -> EpochFinished:
    event = parse_event((GOLDEN / "epoch_finished.json").read_bytes())
    assert isinstance(event, EpochFinished)
    return event.model_copy(update={"seq": 0, "run_id": "", "attempt": 0, "time": None, "epoch": number})


def said(reason: str = "stop") -> RunInterrupted:
    return RunInterrupted(reason=reason, epoch=0)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / RUN)
    folder.path.mkdir()
    return folder


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    return Ledger(client)


@pytest.fixture
def claim(ledger: Ledger) -> Claim:
    ledger.create("run", RUN, created_ms=1, facts=JobFacts())
    claim = ledger.claim("run", RUN, "w1")
    assert isinstance(claim, Claim)
    return claim


def opened(folder: RunFolder, ledger: Ledger | None = None, token: int = 1, **more: Any) -> Journal:
    return Journal.open(folder, run_id=RUN, token=token, attempt=1, ledger=ledger, **more)


def streamed(client: redis.Redis) -> list[int]:
    entries: Any = client.xrange(keys.events(RUN))
    for identity, fields in entries:
        assert parse_event(fields[b"event"]).seq == int(identity.split(b"-")[0])
    return [int(identity.split(b"-")[0]) for identity, _ in entries]


def test_an_event_is_stamped_archived_and_streamed(
    folder: RunFolder, ledger: Ledger, client: redis.Redis, claim: Claim
) -> None:
    journal = opened(folder, ledger, claim.token)
    first = journal.append(epoch(1), epoch_fields(epoch(1)))
    journal.append(said())
    assert (first.seq, first.run_id, first.attempt) == (1, RUN, 1)
    assert first.time is not None
    assert read_events(folder.events)[0] == first
    assert streamed(client) == [1, 2]
    job = ledger.get("run", RUN)
    assert job is not None
    assert job.epoch == 1
    assert job.run_summary() == epoch(1).validation
    holder = read_holder(folder.lock)
    assert holder is not None
    assert (holder.pid, holder.token, holder.host) == (os.getpid(), claim.token, host_name())
    journal.close()


def test_a_torn_last_line_is_cut_and_its_number_used_again(folder: RunFolder) -> None:
    journal = opened(folder)
    journal.append(said("one"))
    journal.close()
    whole = folder.events.read_bytes()
    for cut in (1, len(whole) // 2, len(whole) - 1):
        folder.events.write_bytes(whole + whole[:cut])
        assert len(EventReader(folder.events)) == 1  # a reader never sees half an event
        journal = opened(folder)
        assert journal.append(said("two")).seq == 2
        journal.close()
        assert [event.seq for event in read_events(folder.events)] == [1, 2]
    folder.events.write_bytes(whole[:10])
    journal = opened(folder)
    assert (journal.seq, folder.events.read_bytes()) == (0, b"")
    journal.close()


@pytest.mark.parametrize("damage", ["hole", "garbage", "double"])
def test_a_damaged_archive_is_refused(folder: RunFolder, damage: str) -> None:
    journal = opened(folder)
    for number in range(3):
        journal.append(said(str(number)))
    journal.close()
    lines = folder.events.read_bytes().splitlines(keepends=True)
    lines[1] = {"hole": b"", "garbage": b"\x00" * 20 + b"\n", "double": lines[0]}[damage]
    folder.events.write_bytes(b"".join(lines))
    with pytest.raises(CorruptRecordError):
        opened(folder)
    FolderLock.acquire(folder.lock, token=1, wait_s=0).release()  # a refusal keeps no lock


def test_the_checkpoints_event_is_written_where_the_archive_lacks_it(
    folder: RunFolder, ledger: Ledger, client: redis.Redis, claim: Claim
) -> None:
    journal = opened(folder, ledger, claim.token)
    journal.append(epoch(1))
    journal.close()
    for _ in range(2):  # and once only
        journal = opened(folder, ledger, claim.token)
        journal.recover(epoch(2))
        journal.close()
    events = read_events(folder.events)
    assert [event.epoch for event in events if isinstance(event, EpochFinished)] == [1, 2]
    assert streamed(client) == [1, 2]
    job = ledger.get("run", RUN)
    assert job is not None
    assert job.epoch == 2
    journal = opened(folder, ledger, claim.token)
    with pytest.raises(CorruptRecordError):
        journal.recover(epoch(4))
    journal.close()


def test_the_newest_epoch_is_found_behind_other_events(folder: RunFolder) -> None:
    journal = opened(folder)
    journal.append(epoch(1))
    journal.append(said())
    journal.close()
    journal = opened(folder)
    assert journal.last_epoch is not None
    assert (journal.last_epoch.epoch, journal.seq, type(journal.last)) == (1, 2, RunInterrupted)
    journal.close()


def test_a_stream_behind_the_archive_catches_up(
    folder: RunFolder, ledger: Ledger, client: redis.Redis, claim: Claim
) -> None:
    journal = opened(folder)  # no Redis at all
    for number in range(5):
        journal.append(said(str(number)))
    journal.close()
    journal = opened(folder, ledger, claim.token)
    journal.recover(None)
    assert streamed(client) == [1, 2, 3, 4, 5]
    client.xtrim(keys.events(RUN), maxlen=2, approximate=False)
    journal.append(said())
    assert streamed(client) == [4, 5, 6]
    journal.close()


def test_emptied_redis_is_filled_again_after_the_rebuild(
    folder: RunFolder, ledger: Ledger, client: redis.Redis, claim: Claim
) -> None:
    journal = opened(folder, ledger, claim.token)
    journal.append(epoch(1), epoch_fields(epoch(1)))
    client.flushall()
    journal.append(epoch(2), epoch_fields(epoch(2)))  # nobody is stopped
    assert not journal.flush()
    ledger.restore("run", RUN, state="running", created_ms=1, facts=JobFacts(), token=claim.token)
    assert journal.flush()
    assert streamed(client) == [1, 2]
    job = ledger.get("run", RUN)
    assert job is not None
    assert (job.epoch, job.summary is not None) == (2, True)
    journal.close()


def test_an_outage_of_redis_leaves_only_the_stream_behind(folder: RunFolder, valkey_server: Any) -> None:
    with redis.Redis.from_url(valkey_server.url, retry=None, socket_timeout=1) as client:
        client.flushall()
        ledger = Ledger(client)
        ledger.create("run", RUN, created_ms=1, facts=JobFacts())
        claim = ledger.claim("run", RUN, "w1")
        assert isinstance(claim, Claim)
        journal = opened(folder, ledger, claim.token)
        journal.append(said("before"))
        valkey_server.kill()
        try:
            journal.append(epoch(1), epoch_fields(epoch(1)))
            assert not journal.flush()
        finally:
            valkey_server.start()
        assert streamed(client) == [1]  # what Redis had acknowledged it still has
        journal.append(said("after"))
        assert streamed(client) == [1, 2, 3]
        job = ledger.get("run", RUN)
        assert job is not None
        assert (job.epoch, job.state) == (1, "running")
        journal.close()


def test_a_stale_writer_is_stopped(folder: RunFolder, ledger: Ledger, client: redis.Redis, claim: Claim) -> None:
    journal = opened(folder, ledger, claim.token)
    ledger.requeue("run", RUN, claim.token, "signal 9")
    with pytest.raises(LostLeaseError):
        journal.append(said())
    assert streamed(client) == []
    journal.close()


def test_an_event_that_cannot_be_shortened_is_refused_before_it_is_written(folder: RunFolder) -> None:
    journal = opened(folder)
    report = epoch(1).train
    assert report.mixture is not None
    mixture = report.mixture.model_copy(update={"components": report.mixture.components * 200})
    with pytest.raises(TrainingError, match="GAPSCOPE_MAX_EVENT_BYTES") as refused:
        journal.append(epoch(1).model_copy(update={"train": report.model_copy(update={"mixture": mixture})}))
    assert refused.value.code == "event-too-large"
    assert folder.events.read_bytes() == b""
    assert journal.append(said("ü" * 20_000)).seq == 1
    assert 10_000 < folder.events.stat().st_size <= MAX_EVENT_BYTES + 1
    journal.close()


def test_an_epoch_of_which_much_is_told_is_shortened_the_same_way_each_time(folder: RunFolder) -> None:
    method: dict[str, Any] = {"first": 0.5, "text": "x" * 20_000, **{f"value {n}": n / 7 for n in range(1_000)}}
    event = epoch(1).model_copy(update={"method": method})
    journal = opened(folder)
    journal.recover(event)  # as it stands in a checkpoint of before
    journal.close()
    (told,) = read_events(folder.events)
    assert isinstance(told, EpochFinished)
    assert told.validation == event.validation
    assert told.loss_terms == event.loss_terms
    assert told.method["first"] == 0.5
    assert told.method["value 1"] == 1 / 7
    assert "text" not in told.method
    assert told.method[LEFT_OUT] == len(method) - (len(told.method) - 1)
    assert len(told.method) > 100
    assert fitted(told) is told
    again = fitted(event)
    assert isinstance(again, EpochFinished)
    assert again.method == told.method
    wide = Journal.open(folder, run_id=RUN, token=1, attempt=1, ledger=None, max_event_bytes=64 * 1024)
    whole = wide.append(epoch(2).model_copy(update={"method": method}))
    assert isinstance(whole, EpochFinished)
    assert whole.method == method
    wide.close()


def test_an_error_however_long_fits_into_the_event_that_ends_its_run(folder: RunFolder) -> None:
    journal = opened(folder)
    error = GapscopeError("\U0001f600" * 20_000).problem()
    assert journal.append(RunFailed(error=error)).seq == 1
    assert error.detail.endswith(" ...")
    journal.close()


def test_a_reader_reads_on_from_where_it_was(folder: RunFolder) -> None:
    reader = EventReader(folder.events)
    assert (len(reader), reader.read(0, 10)) == (0, [])
    journal = opened(folder)
    for number in range(10):
        journal.append(said(str(number)))
    assert [event.seq for event in reader.read(3, 4)] == [4, 5, 6, 7]
    assert reader.read(10, 5) == []
    assert reader.read(99, 5) == []
    assert reader.read(-3, 1)[0].seq == 1
    journal.append(said("later"))
    assert [event.seq for event in reader.read(10, 5)] == [11]
    assert reader.read_lines(0, 1)[0] == folder.events.read_bytes().split(b"\n")[0]
    journal.close()
    folder.events.unlink()  # restored from a backup, shorter
    journal = opened(folder)
    journal.append(said("new"))
    assert [getattr(event, "reason", "") for event in reader.read(0, 5)] == ["new"]
    journal.close()


def test_ten_thousand_epochs_are_read_fast(folder: RunFolder) -> None:
    line = epoch(1).model_dump_json().encode()
    with folder.events.open("wb") as file:
        for seq in range(1, 10_001):
            file.write(line.replace(b'{"seq":0,', b'{"seq":%d,' % seq, 1) + b"\n")
    reader = EventReader(folder.events)
    assert len(reader) == 10_000
    begun = time.process_time()
    for after in range(0, 10_000, 500):
        assert reader.read_lines(after, 1)[0].startswith(b'{"seq":%d,' % (after + 1))
    assert time.process_time() - begun < 0.5
    journal = opened(folder)
    assert journal.seq == 10_000
    journal.close()


FINAL: list[tuple[Event, str]] = [
    (RunCancelled(epoch=0), "cancelled"),
    (RunFailed(error=Problem(title="t", status=422, detail="d", code="c")), "failed"),
]


@pytest.mark.parametrize(("event", "state"), FINAL)
def test_a_run_that_nobody_trains_is_closed_once(folder: RunFolder, event: Any, state: str) -> None:
    journal = opened(folder)
    journal.append(epoch(1))
    journal.close()
    for _ in range(2):
        outcome = close_run(folder, run_id=RUN, token=2, attempt=1, ledger=None, event=event)
        assert outcome.state == state
    events = read_events(folder.events)
    assert len(events) == 2
    assert read_outcome(folder.outcome) == outcome_of(events[-1])
    if isinstance(events[-1], RunCancelled):
        assert events[-1].epoch == 1


def test_a_resumed_run_that_fails_again_says_why_this_time(folder: RunFolder) -> None:
    for attempt, detail in ((1, "no folder"), (2, "one class")):
        error = Problem(title="t", status=422, detail=detail, code="c")
        event = RunFailed(error=error)
        outcome = close_run(folder, run_id=RUN, token=attempt, attempt=attempt, ledger=None, event=event)
        assert outcome.error == error
    assert [event.attempt for event in read_events(folder.events)] == [1, 2]


def test_a_later_claim_shuts_an_earlier_one_out(folder: RunFolder) -> None:
    FolderLock.acquire(folder.lock, token=7).release()
    with pytest.raises(LostLeaseError):
        FolderLock.acquire(folder.lock, token=6)
    FolderLock.acquire(folder.lock, token=7).release()


HOLD = """
import os, sys, time
from pathlib import Path
from worker.contract.lock import FolderLock
lock = FolderLock.acquire(Path(sys.argv[1]), token=1)
if sys.argv[2] == "fork" and os.fork() == 0:
    time.sleep(60)
print("held", flush=True)
time.sleep(60 if sys.argv[2] != "brief" else 0.4)
"""


def hold(path: Path, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), how], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_successor_waits_for_the_holder_to_leave(folder: RunFolder) -> None:
    process = hold(folder.lock, "brief")
    FolderLock.acquire(folder.lock, token=2, wait_s=10).release()
    assert process.wait() == 0
    assert process.stdout is not None
    process.stdout.close()


def test_a_holder_that_stays_is_killed(folder: RunFolder) -> None:
    process = hold(folder.lock, "stay")
    FolderLock.acquire(folder.lock, token=2, wait_s=0.2).release()
    assert process.wait() == -signal.SIGKILL
    assert process.stdout is not None
    process.stdout.close()


def test_what_a_dead_holder_left_behind_is_killed(folder: RunFolder) -> None:
    process = hold(folder.lock, "fork")
    process.kill()
    process.wait()
    FolderLock.acquire(folder.lock, token=2, wait_s=0.2).release()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize("field", ["host", "start_time"])
def test_a_process_that_is_not_the_recorded_one_is_left_alone(folder: RunFolder, field: str) -> None:
    process = hold(folder.lock, "stay")
    holder = read_holder(folder.lock)
    assert holder is not None
    assert holder.start_time == start_time(process.pid)
    other = holder.model_copy(update={field: "elsewhere" if field == "host" else 1})
    folder.lock.write_text(other.model_dump_json())
    if field == "host":
        with pytest.raises(FolderBusyError, match="elsewhere"):
            FolderLock.acquire(folder.lock, token=2, wait_s=0.1)
    else:
        with pytest.raises(FolderBusyError):
            FolderLock.acquire(folder.lock, token=2, wait_s=0.1)
    assert process.poll() is None
    end(process)


def test_change_words_are_those_of_the_script() -> None:
    script = (Path(__file__).parents[3] / "worker" / "contract" / "ledger.lua").read_text()
    for word in Change:
        assert f"'{word}'" in script
