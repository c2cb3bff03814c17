"""Following a run: its events as they come, over server-sent events, or by polling where these do not get through."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx

from frontend.client.errors import ServerError
from frontend.client.transport import Transport, typed
from worker.contract.errors import GapscopeError, UnavailableError
from worker.contract.events import EVENT, Event, parse_event
from worker.contract.resources import Run, RunProgress

ENDED = frozenset({"finished", "failed", "cancelled"})
LAST_TYPES = frozenset({"run_finished", "run_failed", "run_cancelled"})
SILENCE_S = 45.0
"""The API sends a sign of life every 15 s; after three missing ones the line counts as dead."""
POLL_S = 1.0
MOST_FRUITLESS_STREAMS = 3
AWAY_S = 60.0
OnProgress = Callable[[RunProgress], None]


@dataclass
class Message:
    """One server-sent event."""

    name: str = "message"
    id: str | None = None
    data: str = ""


def messages(lines: Iterator[str]) -> Iterator[Message]:
    """Yields the server-sent events that lines of text hold (WHATWG HTML, 9.2.6); comments are passed over."""
    message, data = Message(), list[str]()
    for line in lines:
        if not line:
            if data:
                message.data = "\n".join(data)
                yield message
            message, data = Message(), []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            message.name = value
        elif field == "id":
            message.id = value


class Follower:
    """Yields each event of a run once, in order, whatever happens to the line; ends when the run has."""

    def __init__(self, transport: Transport, run_id: str, after: int, on_progress: OnProgress | None) -> None:
        self._transport = transport
        self._run_id = run_id
        self._cursor = after
        self._on_progress = on_progress
        self._fruitless = 0
        self._seen_last = False

    def events(self) -> Iterator[Event]:
        """Yields what came after the cursor, then what comes, until the run has ended.

        Raises:
            GapscopeError: when there is no such run, or the API stays away for a minute.
        """
        away_since: float | None = None
        while True:
            before = self._cursor
            try:
                if self._has_ended():
                    return
                yield from self._by_polling() if self._polls() else self._through_stream()
                away_since = None
            except (UnavailableError, httpx.TransportError):
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > AWAY_S:
                    raise
            self._fruitless = 0 if self._cursor > before else self._fruitless + 1
            time.sleep(POLL_S if self._fruitless else 0)

    def _polls(self) -> bool:
        # After its last event a run is over in a moment, or resumed some day: no reason to hold a stream open.
        return self._fruitless >= MOST_FRUITLESS_STREAMS or self._seen_last

    def _through_stream(self) -> Iterator[Event]:
        path, headers = f"/runs/{self._run_id}/events/stream", {"Accept": "text/event-stream"}
        if self._cursor:
            headers["Last-Event-ID"] = str(self._cursor)
        with self._transport.stream(path, headers, SILENCE_S) as response:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                return
            for message in messages(response.iter_lines()):
                if message.id is None:
                    self._report(message)
                    continue
                event = _parsed(message.data)
                if event.seq > self._cursor:
                    yield self._noted(event)
                if self._seen_last:
                    return

    def _by_polling(self) -> Iterator[Event]:
        page = self._transport.get(f"/runs/{self._run_id}/events", after=self._cursor)
        for value in page["events"]:
            yield self._noted(EVENT.validate_python(value))

    def _noted(self, event: Event) -> Event:
        self._cursor = event.seq
        self._seen_last = event.type in LAST_TYPES
        return event

    def _report(self, message: Message) -> None:
        if self._on_progress is not None and message.name == "progress":
            values = json.loads(message.data)
            values.pop("state", None)  # the stream tells the run's state, too
            self._on_progress(typed(RunProgress, values))

    def _has_ended(self) -> bool:
        """Returns whether the run is over and every event of it was yielded."""
        run = typed(Run, self._transport.get(f"/runs/{self._run_id}"))
        if self._on_progress is not None:
            self._on_progress(run.progress)
        if run.state not in ENDED:
            return False
        return not self._transport.get(f"/runs/{self._run_id}/events", after=self._cursor, limit=1)["events"]


def _parsed(text: str) -> Event:
    try:
        return parse_event(text)
    except ValueError as error:
        raise ServerError(
            f"The API sent an event that this client cannot read ({error}). Use the same version on both sides.",
            code="version-mismatch",
        ) from error


def wait_until_ended(read: Callable[[], Run], timeout_s: float | None, pause_s: float = POLL_S) -> Run:
    """Returns a run once it has ended.

    Raises:
        GapscopeError: with the code `timeout`, when it has not within `timeout_s`.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        run = read()
        if run.state in ENDED:
            return run
        if deadline is not None and time.monotonic() > deadline:
            raise GapscopeError(
                f"The run {run.id} should have ended within {timeout_s:.0f} s; it is {run.state} at epoch "
                f"{run.progress.epoch} of {run.progress.epochs}. Wait longer, or cancel it.",
                code="timeout",
            )
        time.sleep(pause_s)
