"""Runs that are followed: one reader for each run, however many follow it over server-sent events.

The reader asks Redis and the archive; what it finds goes to all followers, encoded once. A follower that begins further
back reads what it lacks from the archive itself.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError
from sse_starlette import JSONServerSentEvent, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from backend.beats import BeatWatch
from backend.event_log import EventLog
from backend.presenting import run_progress, shown_state
from worker.contract import keys
from worker.contract.layout import Home
from worker.contract.ledger import Ledger

WAIT_MS: Final = 500
"""Longest time in which a change of progress is not seen."""
BATCH: Final = 100
KEPT: Final = 32
"""Newest events that a reader keeps for its followers, each of 16 KiB at most."""
SEPARATOR: Final = "\n"


class _Feed:
    """What the reader of one run has found."""

    def __init__(self) -> None:
        self.seq = 0
        """Number of the newest event."""
        self.recent: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self.progress = b""
        self.ended = False
        """No event comes after `seq`."""
        self.news = asyncio.Event()
        """Set when anything changed, and replaced then."""
        self.followers = 0
        self.reader: asyncio.Task[None] | None = None

    def after(self, seq: int) -> list[bytes]:
        """Returns the events after a number, or nothing where they are not all kept."""
        if not self.recent or self.recent[0][0] > seq + 1:
            return []
        return [event for number, event in self.recent if number > seq]

    def tell(self) -> None:
        """Wakes all followers."""
        told, self.news = self.news, asyncio.Event()
        told.set()


class Following:
    """Gives each follower of a run its events and its progress."""

    def __init__(self, home: Home, ledger: Ledger, watch: BeatWatch, events: EventLog, waiting: AsyncRedis) -> None:
        self._home = home
        self._ledger = ledger
        self._watch = watch
        self._events = events
        self._waiting = waiting
        self._feeds: dict[str, _Feed] = {}

    @property
    def num_readers(self) -> int:
        """Runs that are read at this moment."""
        return len(self._feeds)

    async def follow(self, run_id: str, seq: int) -> AsyncIterator[bytes]:
        """Yields server-sent events: each event of a run with its number as id, and `progress` between them.

        Args:
            run_id: the run; it exists.
            seq: number of the last event that the follower has.
        """
        feed, shown = self._join(run_id), b""
        try:
            while True:
                news, ended, progress = feed.news, feed.ended, feed.progress
                while seq < feed.seq:
                    events = feed.after(seq) or await self._archived(run_id, seq)
                    if not events:
                        break
                    for event in events:
                        seq += 1
                        yield event
                if progress != shown:
                    shown = progress
                    yield progress
                if ended:
                    return
                await self._change(feed, news)
        finally:
            self._leave(run_id, feed)

    async def _archived(self, run_id: str, seq: int) -> list[bytes]:
        lines = await run_in_threadpool(self._events.lines_after, run_id, seq, BATCH)
        return [_event(number, line) for number, line in enumerate(lines, start=seq + 1)]

    async def _change(self, feed: _Feed, news: asyncio.Event) -> None:
        """Returns when there is news.

        Raises:
            Exception: what ended the reader, if anything did.
        """
        assert feed.reader is not None
        if feed.reader.done():
            feed.reader.result()
        await news.wait()

    def _join(self, run_id: str) -> _Feed:
        feed = self._feeds.get(run_id)
        if feed is None or feed.reader is None or feed.reader.done():  # an ended run may have been resumed since
            feed = self._feeds[run_id] = _Feed()
            feed.reader = asyncio.create_task(self._read(run_id, feed))
        feed.followers += 1
        return feed

    def _leave(self, run_id: str, feed: _Feed) -> None:
        feed.followers -= 1
        if feed.followers == 0:
            assert feed.reader is not None
            feed.reader.cancel()
            if self._feeds.get(run_id) is feed:
                del self._feeds[run_id]

    async def _read(self, run_id: str, feed: _Feed) -> None:
        """Reads until the run has ended; tells the followers what is new, and that it failed where it did."""
        try:
            feed.seq = await run_in_threadpool(self._events.count, run_id)
            feed.tell()
            while not feed.ended:
                progress, has_ended = await self._progress(run_id)
                lines = await run_in_threadpool(self._events.lines_after, run_id, feed.seq, BATCH)
                for line in lines:
                    feed.seq += 1
                    feed.recent.append((feed.seq, _event(feed.seq, line)))
                feed.ended = has_ended and not lines
                is_new = progress is not None and progress != feed.progress
                feed.progress = progress if progress is not None else feed.progress
                if lines or is_new or feed.ended:
                    feed.tell()
                if not lines and not feed.ended:
                    await self._wait_for_event(run_id, feed.seq)
        finally:
            feed.tell()

    async def _progress(self, run_id: str) -> tuple[bytes | None, bool]:
        """Returns a run's state and progress, and whether it has ended; (None, False) while Redis is down."""
        try:
            record = await run_in_threadpool(self._ledger.get, "run", run_id)
        except RedisError:
            return None, False
        if record is None:
            return None, True
        state = {"state": shown_state(record, self._watch)}
        told = state | run_progress(self._home, record).model_dump(mode="json")
        return JSONServerSentEvent(told, event="progress", sep=SEPARATOR).encode(), record.ended

    async def _wait_for_event(self, run_id: str, seq: int) -> None:
        try:
            await self._waiting.xread({keys.events(run_id): f"{seq}-0"}, count=1, block=WAIT_MS)
        except RedisError:
            await asyncio.sleep(WAIT_MS / 1_000)


def _event(seq: int, line: bytes) -> bytes:
    kind = json.loads(line)["type"]
    return ServerSentEvent(line.decode(), id=str(seq), event=kind, sep=SEPARATOR).encode()
