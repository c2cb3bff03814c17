from __future__ import annotations

import threading

import pytest

from frontend.ui import feed as feeding
from frontend.ui.feed import Feed
from frontend.ui.once import first_press
from tests.frontend.ui.recorded import RecordedApi, epoch, started
from worker.contract.events import Event


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "LEAST_AGE_S", 0.0)


class Recording:
    """Events that can be replaced; counts the requests."""

    def __init__(self, events: list[Event]) -> None:
        self.kept = events
        self.requests = 0

    def events(self, run_id: str, after: int = 0, limit: int = 500) -> list[Event]:
        self.requests += 1
        return [event for event in self.kept if event.seq > after][:limit]


def test_only_new_events_are_fetched() -> None:
    api, feed = RecordedApi(), Feed("run-1")
    feed.advance(api)
    feed.advance(api)
    assert [after for name, after in api.asked if name == "events"] == [0, 6]


def test_long_histories_come_by_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "PAGE", 10)
    recording = Recording([started(35), *(epoch(number) for number in range(1, 36))])
    assert Feed("run-1").advance(recording).newest == 35
    assert recording.requests == 4


def test_another_record_is_read_anew() -> None:
    recording = Recording([started(), epoch(1), epoch(2)])
    feed = Feed("run-1")
    feed.advance(recording)
    recording.kept = [started(), *(epoch(number) for number in range(1, 5))][3:]
    recording.kept[0].seq += 1  # a hole after what is known
    complete = [started(), *(epoch(number) for number in range(1, 4))]

    def then_whole(run_id: str, after: int = 0, limit: int = 500) -> list[Event]:
        return [event for event in (recording.kept if after else complete) if event.seq > after]

    recording.events = then_whole  # type: ignore[method-assign]
    assert feed.advance(recording).newest == 3


def test_histories_that_nobody_looks_at_go_when_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "MOST_EPOCHS", 5)
    recording, feeds = Recording([started(3), *(epoch(number) for number in range(1, 4))]), feeding.Feeds()
    first = feeds.of("run-1")
    first.advance(recording)
    for run_id in ("run-2", "run-3"):
        feeds.of(run_id).advance(recording)
    assert len(feeds) == 3  # all are in use
    monkeypatch.setattr(feeding, "IN_USE_S", 0.0)
    second = feeds.of("run-2")
    assert len(feeds) == 1
    assert feeds.of("run-2") is second
    assert second.history.newest == 3
    assert feeds.of("run-1") is not first
    monkeypatch.setattr(feeding, "MOST_EPOCHS", 100)
    monkeypatch.setattr(feeding, "IDLE_S", 0.0)
    feeds.of("run-3")
    assert len(feeds) == 1  # there is room, but nobody looks


def test_browsers_that_ask_together_share_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "LEAST_AGE_S", 60.0)
    recording, feed = Recording([started(), epoch(1)]), Feed("run-1")
    threads = [threading.Thread(target=feed.advance, args=(recording,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recording.requests == 1
    assert feed.history.newest == 1


def test_an_echo_of_a_press_is_no_press() -> None:
    assert first_press("clone run-1")
    assert not first_press("clone run-1")
    assert first_press("clone run-2")
