"""Claims a job, lets a child do it, watches over the child, and tells the ledger how it ended.

Runs in the main thread of a pool process. Knows no torch and no Celery: whoever calls it brings a way to send messages
and a way to learn that the worker is to stop.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

import redis

from worker.contract.errors import CorruptRecordError, DatasetError, GapscopeError, LostLeaseError, Problem
from worker.contract.keys import JobKind
from worker.contract.layout import Home
from worker.contract.ledger import Ledger
from worker.contract.lock import FolderBusyError
from worker.contract.record import (
    MAX_DEATHS,
    Change,
    Claim,
    LedgerState,
    Outcome,
    Refusal,
    Renewal,
    read_outcome,
    read_spec,
)
from worker.contract.settings import MIB, Settings
from worker.runtime import exits
from worker.runtime.jobs import ChildFailedError, DatasetJob, Fields, Job, RunJob
from worker.runtime.process import ChildProcess

log = logging.getLogger(__name__)
BEAT_S = 1.0
RETRY_S = 0.5
STOP_GRACE_S = 6.0
"""Seconds a child has to save its state when the worker stops: the whole stack has 10."""
T = TypeVar("T")
HELD: tuple[LedgerState, ...] = ("running", "cancelling")


class _Order(Enum):
    """Why a child was ended from outside."""

    CANCEL = auto()
    STOP = auto()
    HANG = auto()
    LOST = auto()


@dataclass(frozen=True)
class Surroundings:
    """What a supervisor works with."""

    settings: Settings
    home: Home
    ledger: Ledger
    worker: str
    send: Callable[[JobKind, str], None]
    """Puts a message into the queue of a job's kind; must not raise."""
    stopping: Callable[[], bool]
    """Whether the worker is to stop."""

    def holder(self) -> str:
        """Returns a name for a claim, never used before."""
        return f"{self.worker or socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:12]}"


def supervise(kind: JobKind, job_id: str, around: Surroundings) -> None:
    """Does a job if it is there to be done; a message too many ends here without harm."""
    if around.stopping():
        return  # the job stays queued; the reaper sends another message
    job: Job = RunJob(around.home, job_id) if kind == "run" else DatasetJob(around.home, job_id)
    try:
        claim = _claim(job, around)
    except redis.RedisError as error:
        log.warning("%s %s: not claimed, Redis does not answer; the reaper sends it again: %s", kind, job_id, error)
        return
    if isinstance(claim, Refusal):
        log.info("%s %s: not claimed: %s", kind, job_id, claim.value)
        return
    log.info("%s %s: attempt %d", kind, job_id, claim.attempt)
    try:
        Supervisor(job, claim, around).run()
    except LostLeaseError as error:
        log.warning("%s", error.detail)
    except CorruptRecordError as error:  # its own files cannot be read: no later try could either
        log.error("%s %s: %s", kind, job_id, error.detail)
        around.ledger.transition(kind, job_id, claim.token, HELD, "failed", error=error.problem())


def missing_space(settings: Settings) -> str | None:
    """Returns for what a job waits when the disk of the home is nearly full, None when it is not."""
    usage = shutil.disk_usage(settings.home)
    missing = settings.reserved_bytes(usage.total) - usage.free
    return None if missing <= 0 else f"free disk space ({missing // MIB + 1:,} MiB more)"


def _claim(job: Job, around: Surroundings) -> Claim | Refusal:
    try:
        needs = job.needs_dataset()
    except CorruptRecordError:
        needs = None  # the supervisor fails it, once it is claimed
    if needs is not None and not around.home.dataset(needs).spec.exists():
        needs = None  # likewise
    return around.ledger.claim(job.kind, job.id, around.holder(), dataset_id=needs)


class Supervisor:
    """One claim of one job, from here to the end of the claim."""

    def __init__(self, job: Job, claim: Claim, around: Surroundings) -> None:
        self._job = job
        self._claim = claim
        self._around = around
        self._ledger = around.ledger
        self._order: _Order | None = None
        self._next_beat = 0.0
        self._deadline = float("inf")

    def run(self) -> None:
        """Does the job, or ends it where nothing is left to do.

        Raises:
            LostLeaseError: when another holder has the job.
        """
        outcome = read_outcome(self._job.outcome)  # left by a child whose supervisor died
        if outcome is None:
            try:
                problem = self._problem()
                if problem is not None or self._job.cancel.exists():
                    outcome = self._close(problem)
            except FolderBusyError as error:
                self._give_back(error.detail, waiting_for=error.detail)
                return
        if outcome is not None:
            self._end(outcome)
            return
        short = missing_space(self._around.settings)
        if short is not None:
            self._give_back(short, waiting_for=short)
            return
        self._work()

    def _problem(self) -> Problem | None:
        """Returns why the job cannot be done at all, if so."""
        if self._claim.exhausted:
            detail = (
                f"The process died {self._claim.deaths} times without getting on, and at most {MAX_DEATHS} new tries "
                f"are made; the last time: {self._claim.reason}. See the log; resume it once the cause is gone."
            )
            return ChildFailedError(detail).problem()
        try:
            needs = self._job.needs_dataset()
            if needs is None:
                return None
            folder = self._around.home.dataset(needs)
            if read_spec(folder.spec) is None:
                return DatasetError(f"The dataset {needs} is not registered any more.").problem()
            dataset = read_outcome(folder.outcome)
        except CorruptRecordError as error:  # the run's own record, or a dataset's that is set apart
            return error.problem()
        if dataset is None or dataset.state == "finished":
            return None
        why = "was cancelled" if dataset.error is None else f"failed: {dataset.error.detail}"
        return DatasetError(f"The preparation of the dataset {needs} {why}").problem()

    def _work(self) -> None:
        job, claim = self._job, self._claim
        arguments = [job.id, str(claim.token), str(claim.attempt), claim.reason]
        child = ChildProcess(job.module, arguments, job.log, self._around.settings)
        try:
            while child.poll() is None:
                self._watch(child)
                child.wait(max(0.0, min(self._next_beat - time.monotonic(), BEAT_S)))
        finally:
            child.close()
        status = child.poll()
        assert status is not None
        log.info("%s %s: the child ended with %d", job.kind, job.id, status)
        self._after(status, child.pulse.reason)

    def _watch(self, child: ChildProcess) -> None:
        """Beats, and ends the child if there is a reason to."""
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + BEAT_S
            self._beat(child)
            child.rotate_log()
        if self._order is None and self._around.stopping():
            self._leave(child, _Order.STOP, STOP_GRACE_S)
        least = self._around.settings.hang_s * self._job.silence_factor
        if self._order is None and child.pulse.silence(now) > child.pulse.longest_silence(least):
            self._order = _Order.HANG
            log.error("%s %s: silent for %.0f s", self._job.kind, self._job.id, child.pulse.silence(now))
            child.show_stacks()
            child.kill()
        elif self._order is not None and now >= self._deadline:
            log.warning("%s %s: did not leave in time and is killed", self._job.kind, self._job.id)
            child.kill()

    def _beat(self, child: ChildProcess) -> None:
        try:
            answer = self._ledger.renew(self._claim)
        except redis.RedisError:
            return  # nobody took the job: go on
        if answer is Renewal.LOST:
            self._order = _Order.LOST
            child.kill()
        elif answer is Renewal.CANCEL and self._order is not _Order.CANCEL:
            if not self._job.cancel.exists():
                self._job.cancel.write_text("{}")
            self._leave(child, _Order.CANCEL, self._around.settings.cancel_grace_s)

    def _leave(self, child: ChildProcess, order: _Order, grace_s: float) -> None:
        self._order = order
        self._deadline = min(self._deadline, time.monotonic() + grace_s)
        child.ask_to_leave()

    def _after(self, status: int, reason: str) -> None:
        """Tells the ledger what the end of the child means."""
        if self._order is _Order.LOST or status == exits.LOST:
            raise LostLeaseError(f"The {self._job.kind} {self._job.id} belongs to another worker now.")
        outcome = read_outcome(self._job.outcome)
        if outcome is not None:
            self._end(outcome)
        elif self._order is _Order.CANCEL:
            self._end(self._close(None))
        elif status == exits.BUSY:
            self._give_back(reason, waiting_for=reason)
        elif status == exits.YIELDED or self._order is _Order.STOP:
            self._give_back("the worker was asked to stop")
        elif status == exits.FULL:  # a quota, say: the disk itself may have room
            self._give_back(reason, waiting_for=f"disk space ({reason})")
        elif (short := missing_space(self._around.settings)) is not None:  # no fault of the job's: it costs no try
            self._give_back(short, waiting_for=short)
        else:
            self._retry(self._why(status, reason))

    def _why(self, status: int, reason: str) -> str:
        if self._order is _Order.HANG:
            return "the process hung and was killed; its stacks stand in the log"
        if status < 0:
            return f"the process was killed by {signal.Signals(-status).name}"
        return reason or f"the process ended with status {status}"

    def _retry(self, reason: str) -> None:
        change = self._until_answered(
            lambda: self._ledger.requeue(self._job.kind, self._job.id, self._claim.token, reason)
        )
        self._gave(change)

    def _give_back(self, reason: str, *, waiting_for: str | None = None) -> None:
        change = self._until_answered(
            lambda: self._ledger.yield_(
                self._job.kind, self._job.id, self._claim.token, reason, waiting_for=waiting_for
            )
        )
        self._gave(change, again=waiting_for is None)

    def _gave(self, change: Change | None, *, again: bool = True) -> None:
        if change is Change.REFUSED:  # someone asked to cancel in between
            self._end(self._close(None))
        elif change is Change.OK and again:
            self._around.send(self._job.kind, self._job.id)

    def _close(self, problem: Problem | None) -> Outcome:
        """Ends the record in the child's place; a folder that cannot be written ends the job in the ledger alone."""
        try:
            return self._job.close(self._claim, self._ledger, problem)
        except (LostLeaseError, FolderBusyError):
            raise
        except (OSError, GapscopeError) as error:
            log.exception("%s %s: the record could not be closed", self._job.kind, self._job.id)
            return Outcome.now("failed", problem or CorruptRecordError(str(error)).problem())

    def _end(self, outcome: Outcome) -> None:
        """Tells the ledger an outcome that is on the disk, however long Redis is away."""
        change = self._until_answered(lambda: self._transition(outcome))
        if change is Change.LOST:
            raise LostLeaseError(f"The {self._job.kind} {self._job.id} belongs to another worker now.")
        if self._job.kind == "dataset" and change is Change.OK:
            for run_id in self._until_answered(lambda: self._ledger.waiting_on(self._job.id)) or []:
                self._around.send("run", run_id)

    def _transition(self, outcome: Outcome) -> Change:
        fields: Fields = {}
        try:
            fields = self._job.settle(self._claim, self._ledger)
        except LostLeaseError:
            raise
        except (GapscopeError, OSError) as error:  # the outcome stands; live state without the last fields is no harm
            log.warning("%s %s: %s", self._job.kind, self._job.id, error)
        return self._ledger.transition(
            self._job.kind, self._job.id, self._claim.token, HELD, outcome.state, error=outcome.error, fields=fields
        )

    def _until_answered(self, ask: Callable[[], T]) -> T | None:
        """Returns the ledger's answer; None when the worker stops first: then the folder speaks for the job."""
        while True:
            try:
                return ask()
            except redis.RedisError as error:
                if self._around.stopping():
                    return None
                log.warning("%s %s: waiting for Redis: %s", self._job.kind, self._job.id, error)
                time.sleep(RETRY_S)
