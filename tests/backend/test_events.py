"""Events by number and as a stream, while a run goes on and after it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.backend.conftest import Backend, Filled, wait_for
from tests.backend.folders import read_lines, report, sample_table
from worker.contract import keys
from worker.contract.events import EpochFinished, Event, GradientShare, RunCancelled, RunStarted
from worker.contract.journal import Journal, epoch_fields, finish_record
from worker.contract.record import Claim


def sse(response: httpx.Response) -> Iterator[dict[str, str]]:
    """Yields the messages of a stream, comments left out."""
    message: dict[str, str] = {}
    for line in response.iter_lines():
        if not line:
            if message:
                yield message
            message = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            message[name] = value


def test_events_are_the_archives_lines(filled: Filled) -> None:
    archived = read_lines(filled.backend.home.run(filled.run).events)
    page = filled.backend.get(f"/runs/{filled.run}/events")
    assert page["events"] == archived
    assert page["cursor"] == str(len(archived)) == "5"
    assert filled.backend.get(f"/runs/{filled.run}/events", after=5) == {"events": [], "cursor": "5"}
    part = filled.backend.get(f"/runs/{filled.run}/events", after=1, limit=2)
    assert ([event["seq"] for event in part["events"]], part["cursor"]) == ([2, 3], "3")
    assert filled.backend.get(f"/runs/{filled.run}/events", after=99)["events"] == []
    filled.backend.problem(filled.backend.http.get("/runs/run-none/events"), 404, "run-not-found")


def test_stream_of_an_ended_run_gives_all_events_after_the_last_id_and_ends(filled: Filled) -> None:
    url = f"/runs/{filled.run}/events/stream"
    with filled.backend.http.stream("GET", url, headers={"Last-Event-ID": "2"}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        messages = list(sse(response))
    events = [message for message in messages if "id" in message]
    assert [message["id"] for message in events] == ["3", "4", "5"]
    assert [message["event"] for message in events] == ["epoch_finished", "epoch_finished", "run_finished"]
    assert json.loads(events[0]["data"])["seq"] == 3
    progress = [message for message in messages if message["event"] == "progress"]
    assert json.loads(progress[0]["data"])["state"] == "finished"


class Worker:
    """Trains a run as far as the ledger and the journal can tell."""

    def __init__(self, backend: Backend) -> None:
        run = backend.http.post("/runs", json={"preset": "demo", "epochs": 3}).json()
        self.backend, self.run_id = backend, run["id"]
        dataset = backend.ledger.claim("dataset", run["waiting_for"].removeprefix("dataset "), "preparer")
        assert isinstance(dataset, Claim)
        backend.ledger.transition("dataset", dataset.id, dataset.token, {"running"}, "finished")
        claim = backend.ledger.claim("run", self.run_id, "trainer")
        assert isinstance(claim, Claim)
        self.claim = claim
        self.journal = Journal.open(
            backend.home.run(self.run_id), run_id=self.run_id, token=claim.token, attempt=1, ledger=backend.ledger
        )

    def say(self, event: Event) -> None:
        fields = epoch_fields(event) if isinstance(event, EpochFinished) else None
        self.journal.append(event, fields)

    def end(self) -> None:
        self.journal.append(RunCancelled(epoch=1))
        finish_record(self.backend.home.run(self.run_id), self.journal.last)
        self.backend.ledger.transition("run", self.run_id, self.claim.token, {"running"}, "cancelled")
        self.journal.close()


def started() -> RunStarted:
    return RunStarted(epochs=3, num_train=1, num_validation=1, num_test=1, classes=["a"], device="cpu")


def epoch(number: int) -> EpochFinished:
    table = sample_table(40, number)
    return EpochFinished(
        epoch=number, stage="single", seconds=1, samples_per_s=1, learning_rate=1, loss_terms={}, method={},
        gradient_share=GradientShare(audio=0.5, visual=0.5, fusion=0),
        train=report(table, "train"), validation=report(table, "validation"),
    )  # fmt: skip


@pytest.fixture
def worker(backend: Backend) -> Iterator[Worker]:
    worker = Worker(backend)
    yield worker
    worker.journal.close()


def test_event_reaches_a_reader_at_once_and_the_stream_ends_with_the_run(worker: Worker) -> None:
    worker.say(started())
    seen: list[tuple[float, dict[str, str]]] = []

    def follow() -> None:
        with httpx.stream("GET", f"{worker.backend.url}/api/v1/runs/{worker.run_id}/events/stream", timeout=20) as got:
            seen.extend((time.monotonic(), message) for message in sse(got))

    reader = threading.Thread(target=follow)
    reader.start()
    time.sleep(0.6)
    worker.say(epoch(1))
    said = time.monotonic()
    run = worker.backend.get(f"/runs/{worker.run_id}")
    assert (run["progress"]["epoch"], run["summary"]["num_samples"]) == (1, 10)
    time.sleep(0.4)
    worker.end()
    reader.join(timeout=10)
    assert not reader.is_alive()
    events = [(at, message) for at, message in seen if "id" in message]
    assert [message["event"] for _, message in events] == ["run_started", "epoch_finished", "run_cancelled"]
    assert events[1][0] - said < 0.3


def test_many_followers_share_one_reader_and_get_all_wherever_they_begin(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.following.KEPT", 2)
    for event in (started(), epoch(1), epoch(2), epoch(3)):
        worker.say(event)
    following, got = worker.backend.services.following, {after: list[int]() for after in (0, 1, 3, 4)}

    def follow(after: int) -> None:
        url = f"{worker.backend.url}/api/v1/runs/{worker.run_id}/events/stream"
        with httpx.stream("GET", url, params={"after": after}, timeout=20) as stream:
            got[after].extend(int(message["id"]) for message in sse(stream) if "id" in message)

    readers = [threading.Thread(target=follow, args=(after,)) for after in got]
    for reader in readers:
        reader.start()
    wait_for(lambda: got[0] == [1, 2, 3, 4] and got[1] == [2, 3, 4] and got[3] == [4], "all have what there is")
    assert following.num_readers == 1
    worker.end()
    for reader in readers:
        reader.join(timeout=10)
    assert got == {0: [1, 2, 3, 4, 5], 1: [2, 3, 4, 5], 3: [4, 5], 4: [5]}
    wait_for(lambda: following.num_readers == 0, "nobody is read for")


def test_a_follower_that_leaves_ends_the_reader_when_it_was_the_last(worker: Worker) -> None:
    worker.say(started())
    following, url = worker.backend.services.following, f"/runs/{worker.run_id}/events/stream"
    with worker.backend.http.stream("GET", url) as one:
        kept = sse(one)
        next(kept)
        with worker.backend.http.stream("GET", url) as other:
            next(sse(other))
        time.sleep(0.2)
        assert following.num_readers == 1
    wait_for(lambda: following.num_readers == 0, "the reader ends")


def test_trimmed_or_emptied_stream_is_served_from_the_archive(worker: Worker) -> None:
    for event in (started(), epoch(1), epoch(2), epoch(3)):
        worker.say(event)
    archived = read_lines(worker.backend.home.run(worker.run_id).events)
    stream = keys.events(worker.run_id)
    worker.backend.services.redis.xtrim(stream, maxlen=2, approximate=False)
    assert worker.backend.get(f"/runs/{worker.run_id}/events")["events"] == archived
    assert worker.backend.get(f"/runs/{worker.run_id}/events", after=2)["events"] == archived[2:]
    worker.backend.services.redis.delete(stream)
    assert worker.backend.get(f"/runs/{worker.run_id}/events", after=1)["events"] == archived[1:]


def test_torn_last_line_is_not_shown(worker: Worker) -> None:
    worker.say(started())
    with worker.backend.home.run(worker.run_id).events.open("ab") as file:
        file.write(b'{"seq":2,"type":"run_fini')
    events: list[Any] = worker.backend.get(f"/runs/{worker.run_id}/events")["events"]
    assert [event["seq"] for event in events] == [1]
