"""The process that prepares one dataset: `python -m worker.runtime.prepare_child` with the arguments of a child.

It holds the lock of the dataset's folder for life and ends with one of worker.runtime.exits. Decoding happens in
expendable processes below it; what they finished is kept, whoever goes on.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys

from worker.contract.errors import GapscopeError, LostLeaseError
from worker.contract.layout import DatasetFolder, Home
from worker.contract.ledger import Ledger
from worker.contract.lock import FolderLock
from worker.contract.record import Outcome
from worker.contract.resources import PrepareProgress
from worker.contract.settings import Settings
from worker.datasets.prepare import PreparationStopped, prepare
from worker.runtime import exits
from worker.runtime.arguments import ChildArguments
from worker.runtime.attempt import run_attempt
from worker.runtime.lifetime import StopRequest, exit_at_once
from worker.runtime.progress import Teller
from worker.runtime.pulse import PulseWriter
from worker.runtime.redis_client import connect
from worker.runtime.specs import dataset_spec

log = logging.getLogger("gapscope.prepare")


class Preparation:
    """One attempt at a preparation."""

    def __init__(self, arguments: ChildArguments, settings: Settings, stop: StopRequest, pulse: PulseWriter) -> None:
        self._id = arguments.job_id
        self._stop = stop
        self._pulse = pulse
        self._folder: DatasetFolder = Home(settings.home).dataset(self._id)
        self._num_processes = settings.prepare_processes or len(os.sched_getaffinity(0))
        self._reserved_bytes = settings.reserved_bytes(shutil.disk_usage(settings.home).total)
        # A list that was uploaded may name no files but those that came with it.
        self._data_roots = (self._folder.clips,) if self._folder.upload.exists() else settings.data_roots
        self._teller = Teller(Ledger(connect(settings.redis_url)), "dataset", self._id, arguments.token)
        self._lock = FolderLock.acquire(self._folder.lock, token=arguments.token)

    def run(self) -> int:
        """Prepares to the end, or until asked to leave, and returns the exit code."""
        try:
            spec = dataset_spec(self._folder, self._id)
            summary = prepare(
                spec,
                self._folder.path,
                num_processes=self._num_processes,
                on_progress=self._on_progress,
                should_stop=self._should_stop,
                reserved_bytes=self._reserved_bytes,
                data_roots=self._data_roots,
            )
        except PreparationStopped:
            if self._folder.cancel.exists():
                Outcome.now("cancelled").write(self._folder.outcome)
                return exits.CANCELLED
            return exits.YIELDED
        except LostLeaseError:
            raise
        except GapscopeError as error:
            log.error("%s", error.detail)
            Outcome.now("failed", error.problem()).write(self._folder.outcome)
            return exits.FAILED
        log.info("%d clips are ready, %d were skipped", summary.record.num_samples, summary.record.num_skipped)
        Outcome.now("finished").write(self._folder.outcome)
        return exits.DONE

    def _on_progress(self, progress: PrepareProgress) -> None:
        self._pulse.step()
        if self._teller.due() or progress.fraction >= 1.0:
            self._teller.tell(progress.model_dump_json())

    def _should_stop(self) -> bool:
        self._pulse.step()
        return self._stop.asked


if __name__ == "__main__":
    exit_at_once(run_attempt(sys.argv[1:], "dataset", log, Preparation))
