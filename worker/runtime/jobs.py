"""What runs and preparations have in common for the supervisor, and in what they differ: files, child, last words."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol

import redis

from worker.contract.errors import GapscopeError, Problem
from worker.contract.events import RunCancelled, RunFailed
from worker.contract.journal import Journal, close_run, epoch_fields
from worker.contract.keys import JobKind
from worker.contract.layout import Home
from worker.contract.ledger import Ledger
from worker.contract.lock import FolderLock
from worker.contract.record import Claim, Outcome
from worker.runtime.specs import dataset_id_of, run_spec

Fields = dict[str, str | None]


class ChildFailedError(GapscopeError):
    """The job's process died again and again without getting on."""

    title = "The process of the job keeps dying"
    default_code = "process-died"


class Job(Protocol):
    """A job that a child process does."""

    kind: ClassVar[JobKind]
    module: ClassVar[str]
    """Entry point of the child."""
    silence_factor: ClassVar[float]
    """How many times settings.hang_s the child may be silent."""
    id: str
    path: Path
    log: Path
    cancel: Path
    outcome: Path

    def needs_dataset(self) -> str | None:
        """Returns the dataset that must have ended before."""

    def close(self, claim: Claim, ledger: Ledger, problem: Problem | None) -> Outcome:
        """Ends the record where no child does: failed with `problem`, or cancelled without one."""

    def settle(self, claim: Claim, ledger: Ledger) -> Fields:
        """Brings live state up to the record once the child is gone, and returns the job's last fields."""


class RunJob:
    """A training run."""

    kind: ClassVar[JobKind] = "run"
    module: ClassVar[str] = "worker.runtime.child"
    silence_factor: ClassVar[float] = 1.0

    def __init__(self, home: Home, run_id: str) -> None:
        self.id = run_id
        self._folder = home.run(run_id)
        self.path = self._folder.path
        self.log = self._folder.log
        self.cancel = self._folder.cancel
        self.outcome = self._folder.outcome

    def needs_dataset(self) -> str | None:
        """Returns the dataset of the run's spec."""
        return dataset_id_of(run_spec(self._folder, self.id))

    def close(self, claim: Claim, ledger: Ledger, problem: Problem | None) -> Outcome:
        """Writes the run's last event and its outcome."""
        event = RunCancelled(epoch=0) if problem is None else RunFailed(error=problem)
        return close_run(
            self._folder, run_id=self.id, token=claim.token, attempt=claim.attempt, ledger=ledger, event=event
        )

    def settle(self, claim: Claim, ledger: Ledger) -> Fields:
        """Gives the stream what it lacks, so that nobody sees the end of a run before its last event.

        Raises:
            RedisError: when Redis cannot take it now.
            LostLeaseError: when another holder has the run.
        """
        journal = Journal.open(self._folder, run_id=self.id, token=claim.token, attempt=claim.attempt, ledger=ledger)
        try:
            if not journal.flush() and ledger.get("run", self.id) is not None:
                raise redis.ConnectionError("the stream is behind")
            fields: Fields = {} if journal.last_epoch is None else epoch_fields(journal.last_epoch)
            if journal.last is not None and journal.last.type == "run_finished":
                fields["result"] = journal.last.result.model_dump_json()
            return fields
        finally:
            journal.close()


class DatasetJob:
    """The preparation of a dataset."""

    kind: ClassVar[JobKind] = "dataset"
    module: ClassVar[str] = "worker.runtime.prepare_child"
    silence_factor: ClassVar[float] = 10.0
    """One clip may take 120 s, and the checksums of a large store as long."""

    def __init__(self, home: Home, dataset_id: str) -> None:
        self.id = dataset_id
        self._folder = home.dataset(dataset_id)
        self.path = self._folder.path
        self.log = self._folder.log
        self.cancel = self._folder.cancel
        self.outcome = self._folder.outcome

    def needs_dataset(self) -> str | None:
        """Returns None: a preparation waits for nothing."""
        return None

    def close(self, claim: Claim, ledger: Ledger, problem: Problem | None) -> Outcome:
        """Writes the outcome."""
        lock = FolderLock.acquire(self._folder.lock, token=claim.token)
        try:
            outcome = Outcome.now("cancelled" if problem is None else "failed", problem)
            outcome.write(self.outcome)
            return outcome
        finally:
            lock.release()

    def settle(self, claim: Claim, ledger: Ledger) -> Fields:
        """Returns no fields: a preparation has no stream."""
        return {}
