"""How far a run is, and how long it will take: the last value counts, once a second."""

from __future__ import annotations

import time

import redis

from worker.contract.errors import LostLeaseError
from worker.contract.events import Phase, Stage
from worker.contract.keys import JobKind
from worker.contract.ledger import Ledger
from worker.contract.record import Change
from worker.contract.resources import RunProgress

EVERY_S = 1.0
PAUSE_S = 10.0
"""How long nothing is told after Redis did not answer: an outage may not slow the work down."""
TRAINING_SHARE = 0.9
"""Share of an epoch's time that training takes, the rest being evaluation: for the bar, not for the ETA."""


class Teller:
    """Keeps a job's progress in the ledger, at most once a second."""

    def __init__(self, ledger: Ledger, kind: JobKind, job_id: str, token: int) -> None:
        self._ledger = ledger
        self._kind = kind
        self._id = job_id
        self._token = token
        self._next = 0.0

    def due(self) -> bool:
        """Whether it is time to tell."""
        return time.monotonic() >= self._next

    def tell(self, progress: str) -> None:
        """Tells; an outage of Redis is waited out elsewhere.

        Raises:
            LostLeaseError: when another holder has the job.
        """
        self._next = time.monotonic() + EVERY_S
        try:
            change = self._ledger.set_progress(self._kind, self._id, self._token, progress)
        except redis.RedisError:
            self._next = time.monotonic() + PAUSE_S
            return
        if change is Change.LOST:
            raise LostLeaseError(f"The {self._kind} {self._id} belongs to another worker now.")


class RunMeter:
    """Turns the loop's steps into RunProgress."""

    def __init__(self, epochs: int, finished: int) -> None:
        self._epochs = epochs
        self._finished = finished
        self._stage: Stage = "single"
        self._phase: Phase = "preparing"
        self._within = 0.0
        self._begun = time.monotonic()
        self._begun_at = finished / epochs
        self._samples = 0
        self._samples_since = self._begun
        self._rate: float | None = None

    def phase(self, stage: Stage, phase: Phase) -> None:
        """Notes that another phase began."""
        self._stage, self._phase = stage, phase
        self._samples, self._samples_since = 0, time.monotonic()

    def step(self, step: int, num_steps: int, num_samples: int) -> None:
        """Notes a batch."""
        share = step / max(num_steps, 1)
        if self._phase == "training":
            self._within = TRAINING_SHARE * share
            self._samples += num_samples
            elapsed = time.monotonic() - self._samples_since
            if elapsed > 0:
                self._rate = self._samples / elapsed
        else:
            self._within = TRAINING_SHARE + (1 - TRAINING_SHARE) * share

    def epoch_done(self, epoch: int) -> None:
        """Notes a finished epoch."""
        self._finished, self._within = epoch, 0.0

    def progress(self) -> RunProgress:
        """Returns how far the run is now."""
        done = min((self._finished + self._within) / self._epochs, 1.0)
        gained, elapsed = done - self._begun_at, time.monotonic() - self._begun
        return RunProgress(
            epoch=self._finished,
            epochs=self._epochs,
            stage=self._stage,
            phase=self._phase,
            fraction=done,
            eta_s=round((1 - done) * elapsed / gained, 1) if gained > 0 else None,
            samples_per_s=None if self._rate is None else round(self._rate, 1),
        )
