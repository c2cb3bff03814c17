"""Prepared stores that nothing names: removed after a while where the settings say so; the dataset stays registered."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from typing import Final

from backend.dataset_jobs import DatasetJobs
from backend.disk import freeable_bytes
from backend.jobs import JobTools
from backend.retention import Freed, Item, Retention, surplus
from backend.stores import RECORD_FILE
from backend.subsets import Subsets
from backend.trash import Trash
from backend.uses import DatasetUses
from worker.contract.errors import CorruptRecordError, GoneError
from worker.contract.layout import DatasetFolder
from worker.contract.record import Change, Outcome, read_spec

log = logging.getLogger(__name__)
DAY_S: Final = 86_400.0
MARK_S: Final = 3_600.0
"""How often it is written down that a dataset is in use."""
REMOVED: Final = GoneError(
    "No run and no subset named this prepared dataset for a while, so its store was removed "
    "(GAPSCOPE_UNUSED_STORE_DAYS, GAPSCOPE_MAX_UNUSED_STORES_BYTES). Prepare it again, or launch a run on it.",
    code="store-removed",
).problem()


class StoreRetention:
    """Notes which datasets are in use, and removes the stores of those that are not."""

    def __init__(self, tools: JobTools, datasets: DatasetJobs, subsets: Subsets, trash: Trash) -> None:
        self._tools = tools
        self._datasets = datasets
        self._subsets = subsets
        self._trash = trash

    def sweep(self) -> Freed:
        """Removes stores that were not used for too long, or take too much together; returns what that freed."""
        settings, ledger = self._tools.settings, self._tools.ledger
        days, most = settings.unused_store_days, settings.max_unused_stores_bytes
        named = self._named()
        if named is None:
            return Freed()
        unused = []
        for record in ledger.get_many("dataset", ledger.ids("dataset")):
            folder = self._tools.home.dataset(record.id)
            if record.id in named or not record.ended:
                _mark_used(folder)
            elif record.state == "finished" and (days is not None or most is not None):
                size = freeable_bytes(folder.store) if most is not None else 0
                unused.append(Item(record.id, _unused_s(folder), size, in_use=not _can_be_made_again(folder)))
        retention = Retention(max_age_s=None if days is None else days * DAY_S, max_bytes=most)
        freed = Freed()
        for item in surplus(unused, retention):
            freed += self._remove(item.key)
        return freed

    def _named(self) -> set[str] | None:
        """Returns the datasets that a run, a run in the trash, or a saved subset names; None where that is not sure.

        It is not while the ledger is being rebuilt, nor where a run could not be brought back from its folder.
        """
        tools, live = self._tools, self._tools.live
        generation, named = live.generation(), self._trash.dataset_ids()
        named |= DatasetUses.now(live).datasets()
        unlisted = {path.name for path in tools.home.runs.iterdir()} - set(tools.ledger.ids("run"))
        if generation is None or live.generation() != generation or unlisted:
            return None
        named |= {subset.dataset_id for subset in self._subsets.all()}
        return named | self._trash.dataset_ids()  # read twice: a run may have been moved there, or back, meanwhile

    def _remove(self, dataset_id: str) -> Freed:
        """Removes a store unless something names it by now; no run is launched on it meanwhile."""
        tools, folder = self._tools, self._tools.home.dataset(dataset_id)
        with self._datasets.held:
            record = tools.ledger.get("dataset", dataset_id)
            named = self._named()
            if record is None or named is None or dataset_id in named:
                return Freed()
            change = tools.ledger.transition(
                "dataset", dataset_id, record.token, {"finished"}, "cancelled", error=REMOVED
            )
            if change is not Change.OK:
                return Freed()
            Outcome.now("cancelled", REMOVED).write(folder.outcome)
            size = freeable_bytes(folder.store)
            tools.archive.purge(folder.store)
        log.info("the store of %s, which nothing names, was removed: %d bytes", dataset_id, size)
        return Freed(1, size)


def _mark_used(folder: DatasetFolder) -> None:
    if time.time() - _time_of(folder.last_used) > MARK_S:
        with contextlib.suppress(OSError):
            folder.last_used.touch()


def _unused_s(folder: DatasetFolder) -> float:
    return time.time() - max(_time_of(folder.last_used), _time_of(folder.store / RECORD_FILE))


def _can_be_made_again(folder: DatasetFolder) -> bool:
    """Returns whether the clips are still there from which a store was prepared."""
    try:
        stored = read_spec(folder.spec)
    except CorruptRecordError:
        return False
    if stored is None:
        return False
    path = stored.spec.get("path")
    return path is None or Path(path).exists()


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
