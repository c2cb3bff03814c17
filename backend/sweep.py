"""The sweep: once a minute what is too old, too much or left over is deleted, and what the home holds is measured."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from redis.exceptions import RedisError

from backend.batch_jobs import BatchJobs
from backend.derivatives import ABANDONED_S, Derivatives
from backend.disk import freeable_bytes
from backend.folder_faults import roots
from backend.jobs import JobTools
from backend.retention import Freed, Retention
from backend.score_jobs import ScoreJobs
from backend.store_retention import StoreRetention
from backend.trash import trash_hours
from worker.contract.upkeep import SweepFacts, SweptPart

log = logging.getLogger(__name__)
PAUSE_S: Final = 60.0


class Sweep:
    """A loop of its own: deleting may take long, and dead jobs must not wait for it."""

    def __init__(
        self,
        tools: JobTools,
        scores: ScoreJobs,
        batches: BatchJobs,
        derivatives: Derivatives,
        stores: StoreRetention,
    ) -> None:
        self._tools = tools
        self._derivatives = derivatives
        self._parts: dict[str, Callable[[], Freed]] = {
            "trash": self._trash,
            "scores": scores.expire,
            "batches": batches.expire,
            "derived": self._derived,
            "stores": stores.sweep,
            "leftovers": self._leftovers,
        }
        self._freed = dict.fromkeys(self._parts, Freed())
        self._swept_at: datetime | None = None
        self._freed_at: datetime | None = None

    async def run(self) -> None:
        """Takes a turn each minute, whatever a turn runs into."""
        try:
            while True:
                await asyncio.to_thread(self.turn)
                await asyncio.sleep(PAUSE_S)
        finally:
            self._tools.usage.stop()

    def turn(self) -> None:
        """Sweeps once; what cannot be swept now (Redis is away) is swept the next time."""
        for name, sweep in self._parts.items():
            try:
                freed = sweep()
            except RedisError as error:
                log.warning("the sweep of the %s waits for Redis: %s", name, error)
                continue
            except Exception:  # the others must be swept all the same, and this one again
                log.exception("the sweep of the %s failed", name)
                continue
            if freed != Freed():
                log.info("swept: %d of the %s, %d bytes", freed.number, name, freed.num_bytes)
                self._freed[name] += freed
                self._freed_at = datetime.now(UTC)
        self._swept_at = datetime.now(UTC)
        try:
            self._tools.usage.measure_if_due()
        except Exception:  # the next minute must be swept all the same
            log.exception("the home could not be measured")

    def facts(self) -> SweepFacts:
        """Returns what was deleted since this backend started."""
        return SweepFacts(
            swept_at=self._swept_at,
            freed_at=self._freed_at,
            freed_bytes=sum(freed.num_bytes for freed in self._freed.values()),
            parts=[
                SweptPart(name=name, number=freed.number, freed_bytes=freed.num_bytes)
                for name, freed in self._freed.items()
                if freed != Freed()
            ],
        )

    def _trash(self) -> Freed:
        max_age_s = trash_hours(self._tools) * 3_600
        return self._tools.archive.empty_trash(Retention(max_age_s, max_bytes=self._tools.settings.max_trash_bytes))

    def _derived(self) -> Freed:
        return self._derivatives.sweep(is_short=self._tools.is_short())

    def _leftovers(self) -> Freed:
        """Deletes what uploads and moves between disks left that a crash cut short: nothing in it changed for long."""
        home, freed = self._tools.home, Freed()
        left = [*home.scores.glob(".*.partial"), *home.datasets.glob(".upload-*"), *home.runs.glob(".*.partial")]
        for folder in [*left, *(path for root in roots(home).values() for path in root.glob(".*.purged.*"))]:
            if time.time() - _changed_at(folder) > ABANDONED_S:
                freed += Freed(1, freeable_bytes(folder))
                shutil.rmtree(folder, ignore_errors=True)
        return freed


def _changed_at(folder: Path) -> float:
    """Returns when anything in a folder last changed; now, where it is gone."""
    try:
        return max(path.lstat().st_mtime for path in [folder, *folder.rglob("*")])
    except OSError:
        return time.time()
