"""Brings the ledger back from the folders when Redis was emptied (its `generation` key is missing).

A folder that cannot be read is left out and left where it is; backend.quarantine says which and why. At every start
what lies in the home and is not listed is tried again, so that a folder that was mended comes back.
"""

from __future__ import annotations

import logging
from functools import partial

from backend.folder_faults import Fault, attempt, entry_fault, roots
from backend.jobs import JobTools, now_ms
from backend.recovery import Recovered, recover
from backend.run_jobs import RunJobs
from worker.contract.keys import JobKind
from worker.contract.layout import id_folders
from worker.contract.ledger import DATASET_PREFIX
from worker.contract.record import Moved

log = logging.getLogger(__name__)
KINDS: tuple[JobKind, ...] = ("dataset", "run", "score", "batch")
"""Datasets first: a run waits for one that is not ready."""


class Rebuilder:
    """Restores every job whose folder lies in the home."""

    def __init__(self, tools: JobTools, runs: RunJobs) -> None:
        self._tools = tools
        self._runs = runs

    def run_if_emptied(self) -> bool:
        """Rebuilds the ledger if Redis was emptied; returns whether it did."""
        live = self._tools.live
        if live.generation() is not None:
            return False
        counts = {kind: self._bring_back(kind, set()) for kind in KINDS}  # what is listed by now gets its token raised
        live.set_generation(str(now_ms()))
        log.info("Redis was empty; brought back from the folders: %s", counts)
        return True

    def bring_back_mended(self) -> None:
        """Brings back what lies in the home, can be read, and is not listed: it was mended since the last start."""
        for kind in KINDS:
            count = self._bring_back(kind, set(self._tools.ledger.ids(kind)))
            if count:
                log.info("brought back from folders that were not listed: %d of kind %s", count, kind)

    def _bring_back(self, kind: JobKind, known: set[str]) -> int:
        home, restored = self._tools.home, 0
        folders = attempt(roots(home)[kind], partial(id_folders, roots(home)[kind]))
        if isinstance(folders, Fault):
            return 0
        for path in folders:
            if path.name in known or entry_fault(home, kind, path) is not None:
                continue
            found = attempt(path, partial(recover, home, kind, path.name))
            if isinstance(found, Recovered):
                self._restore(kind, path.name, found)
                restored += 1
        return restored

    def restore_run(self, run_id: str) -> None:
        """Brings a run back from its folder, if there is one.

        Raises:
            CorruptRecordError: when its folder is damaged.
        """
        found = recover(self._tools.home, "run", run_id)
        if found is not None:
            self._restore("run", run_id, found)

    def _restore(self, kind: JobKind, job_id: str, found: Recovered) -> None:
        tools, fields = self._tools, dict(found.fields)
        if kind == "run" and found.state == "queued" and not self._is_ready(found.facts.dataset_id):
            fields["waiting_for"] = DATASET_PREFIX + found.facts.dataset_id
        tools.ledger.restore(
            kind,
            job_id,
            state=found.state,
            created_ms=found.created_ms,
            facts=found.facts,
            attempt=found.attempt,
            token=found.token,
            fields=fields,
        )
        if kind == "run" and found.state == "cancelled" and not found.has_outcome:
            self._runs.close_cancelled(job_id, Moved("cancelled", found.token))

    def _is_ready(self, dataset_id: str) -> bool:
        dataset = self._tools.ledger.get("dataset", dataset_id)
        return dataset is not None and dataset.state == "finished"
