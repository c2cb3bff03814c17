"""Curves of runs for lists: fused accuracy and mean |gap| over the epochs, thinned, kept in Redis, read on from there.

What is kept of a run says which event it ends at, so only newer events are ever read. It can be lost at any time.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import cast

import redis
from pydantic import BaseModel, ValidationError

from backend.event_log import PAGE, EventLog
from worker.contract import keys
from worker.contract.record import JobRecord
from worker.contract.resources import RunSeries

MAX_POINTS = 48
MAX_EVENTS = 2_000
"""Events that one list reads at most, about 0.15 s; what is left comes with the next one."""
Point = tuple[int, float | None, float | None]
"""Epoch, fused accuracy, mean |gap|."""


class _Kept(BaseModel):
    """What is kept of a run."""

    seq: int = 0
    every: int = 1
    """Epochs 1, 1 + every, 1 + 2 every, ... are kept, and the newest."""
    points: list[Point] = []
    newest: Point | None = None

    @property
    def last_epoch(self) -> int:
        """The newest epoch; 0 before the first."""
        return self.newest[0] if self.newest else 0

    def add(self, point: Point) -> None:
        """Takes the next epoch in; thins when there are too many."""
        self.newest = point
        if (point[0] - 1) % self.every == 0:
            self.points.append(point)
        if len(self.points) > MAX_POINTS:
            self.every *= 2
            self.points = [kept for kept in self.points if (kept[0] - 1) % self.every == 0]

    def series(self) -> RunSeries | None:
        """Returns the curves; None before the first epoch."""
        if self.newest is None:
            return None
        points = self.points if self.points and self.points[-1] == self.newest else [*self.points, self.newest]
        return RunSeries(
            epochs=[point[0] for point in points],
            accuracy_fused=[point[1] for point in points],
            mean_abs_gap=[point[2] for point in points],
        )


class SeriesReader:
    """Reads curves of several runs at once."""

    def __init__(self, client: redis.Redis, events: EventLog) -> None:
        self._client = client
        self._events = events
        self._reading = threading.Lock()

    def of(self, records: Sequence[JobRecord]) -> dict[str, RunSeries]:
        """Returns the curves of those runs that have finished an epoch, by id."""
        if not records:
            return {}
        kept = self._kept(records)
        behind = [record for record in records if kept[record.id].last_epoch < record.epoch]
        if behind:
            with self._reading:  # of many who ask at once, one reads
                kept |= self._kept(behind)
                self._catch_up(behind, kept)
        series = ((record.id, kept[record.id].series()) for record in records)
        return {run_id: one for run_id, one in series if one is not None}

    def _kept(self, records: Sequence[JobRecord]) -> dict[str, _Kept]:
        texts = cast("list[str | None]", self._client.mget([keys.series(record.id) for record in records]))
        return {record.id: _parsed(text) for record, text in zip(records, texts, strict=True)}

    def _catch_up(self, behind: Sequence[JobRecord], kept: dict[str, _Kept]) -> None:
        left = MAX_EVENTS
        for record in behind:
            one = kept[record.id]
            if one.last_epoch < record.epoch and left > 0:
                left -= self._read_on(record.id, one, left)
                self._client.set(keys.series(record.id), one.model_dump_json())

    def forget(self, run_id: str) -> None:
        """Drops what is kept of a run that is deleted."""
        self._client.delete(keys.series(run_id))

    def _read_on(self, run_id: str, kept: _Kept, limit: int) -> int:
        read = 0
        while read < limit:
            lines = self._events.lines_after(run_id, kept.seq, min(PAGE, limit - read))
            for line in lines:
                event = json.loads(line)
                kept.seq = event["seq"]
                if event["type"] == "epoch_finished":
                    report = event["validation"]
                    kept.add((event["epoch"], report["accuracy"]["fused"], report["mean_abs_gap"]))
            read += len(lines)
            if not lines:
                break
        return read


def _parsed(text: str | None) -> _Kept:
    try:
        return _Kept() if text is None else _Kept.model_validate_json(text)
    except ValidationError:  # of another version
        return _Kept()
