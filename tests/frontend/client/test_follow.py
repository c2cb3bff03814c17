"""Following a run: every event once and in order, over streams that break and where there are none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from frontend.client import GapscopeClient, follow
from tests.frontend.client.fake_api import HANG_UP, Answer, FakeApi, Request
from tests.frontend.client.values import event_value, run_value
from worker.contract.errors import NotFoundError
from worker.contract.resources import RunProgress

HISTORY = [
    event_value("run_started", 1),
    event_value("epoch_finished", 2, epoch=1),
    event_value("run_interrupted", 3),
    event_value("run_resumed", 4),
    event_value("epoch_finished", 5, epoch=2),
    event_value("run_finished", 6),
]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "POLL_S", 0.01)


class Script:
    """An API with one run, whose stream breaks after some events."""

    def __init__(self, per_stream: int, history: list[dict[str, Any]] = HISTORY) -> None:
        self.history = history
        self.per_stream = per_stream
        self.told = 0
        self.streams: list[str | None] = []

    def __call__(self, request: Request) -> Answer:
        if request.path.endswith("/stream"):
            return self._stream(request)
        if request.path.endswith("/events"):
            self.told = len(self.history)
            after, limit = int(request.query["after"]), int(request.query.get("limit", 100))
            later = [event for event in self.history if event["seq"] > after]
            return Answer({"events": later[:limit], "cursor": "0"})
        state = "finished" if self.told >= len(self.history) else "running"
        return Answer(run_value(state))

    def _stream(self, request: Request) -> Answer:
        after = int(request.headers.get("last-event-id", "0"))
        self.streams.append(request.headers.get("last-event-id"))
        sent = self.history[after : after + self.per_stream]
        self.told = max(self.told, after + len(sent))
        pieces = [b": ping\n\n", b'event: progress\ndata: {"state": "running", "epoch": 1, "epochs": 2}\n\n']
        for event in sent:
            pieces.append(f"id: {event['seq']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        return Answer(pieces=pieces, content_type="text/event-stream; charset=utf-8")


@pytest.mark.parametrize("per_stream", [1, 4, 100])
def test_broken_streams_are_bridged_by_the_cursor(per_stream: int, api: FakeApi, client: GapscopeClient) -> None:
    api.answer = script = Script(per_stream)
    assert [event.seq for event in client.follow("run-1")] == [1, 2, 3, 4, 5, 6]
    assert script.streams[0] is None
    if per_stream == 4:
        assert script.streams == [None, "4"]


def test_follow_begins_after_an_event(api: FakeApi, client: GapscopeClient) -> None:
    api.answer = Script(100)
    assert [event.seq for event in client.follow("run-1", after=4)] == [5, 6]


def test_progress_is_told(api: FakeApi, client: GapscopeClient) -> None:
    api.answer = Script(100)
    told: list[RunProgress] = []
    list(client.follow("run-1", on_progress=told.append))
    assert told
    assert told[-1].epochs == 2


def test_events_that_the_stream_repeats_come_once(api: FakeApi, client: GapscopeClient) -> None:
    script = Script(100, [*HISTORY[:2], *HISTORY[1:]])
    api.answer = script
    assert [event.seq for event in client.follow("run-1")] == [1, 2, 3, 4, 5, 6]


def test_without_streams_it_polls(api: FakeApi, client: GapscopeClient) -> None:
    script = Script(1)

    def answer(request: Request) -> Answer:
        if request.path.endswith("/stream"):
            return Answer({}, content_type="application/json")  # a proxy in between swallowed it
        return script(request)

    api.answer = answer
    assert [event.seq for event in client.follow("run-1")] == [1, 2, 3, 4, 5, 6]


def test_api_that_restarts_is_waited_for(api: FakeApi, client: GapscopeClient) -> None:
    script, answers = Script(2), [0]

    def answer(request: Request) -> Answer:
        answers[0] += 1
        return HANG_UP if 3 <= answers[0] <= 7 else script(request)

    api.answer = answer
    assert [event.seq for event in client.follow("run-1")] == [1, 2, 3, 4, 5, 6]


def test_resumed_run_is_followed_past_its_failure(api: FakeApi, client: GapscopeClient) -> None:
    failed = event_value("run_failed", 3)
    api.answer = Script(3, [*HISTORY[:2], failed, *HISTORY[3:]])
    assert [event.type for event in client.follow("run-1")][2:4] == ["run_failed", "run_resumed"]


def test_unknown_run_is_an_error(api: FakeApi, client: GapscopeClient) -> None:
    api.answer = lambda _: api.problem(404, "run-not-found", "There is no such run.")
    with pytest.raises(NotFoundError):
        list(client.follow("run-9"))


def test_messages_follow_the_standard() -> None:
    lines = ["event: a", "id: 7", "data: one", "data:two", "", ": comment", "", "data", ""]
    assert [(message.name, message.id, message.data) for message in follow.messages(iter(lines))] == [
        ("a", "7", "one\ntwo"),
        ("message", None, ""),
    ]
