"""The process that trains one run: `python -m worker.runtime.child RUN_ID TOKEN ATTEMPT REASON PULSE_FD PARENT_PID`.

It holds the lock of the run's folder for life. How it ends, it says by its exit code (worker.runtime.exits); the
supervisor tells the ledger. This module must not know Celery.
"""

from __future__ import annotations

import logging
import sys
import time

import torch

from worker.contract.errors import CorruptRecordError, DatasetError, GapscopeError, LostLeaseError, Problem
from worker.contract.events import RunCancelled, RunFailed, RunFinished, RunInterrupted, RunResumed, RunStarted
from worker.contract.journal import Journal, finish_record
from worker.contract.layout import Home, write_atomically
from worker.contract.ledger import Ledger
from worker.contract.lock import FolderBusyError
from worker.contract.resources import ResolvedSpec
from worker.contract.settings import Settings
from worker.contract.spec import RunSpec
from worker.datasets.store import PreparedStore
from worker.engine import checkpoint
from worker.engine.assembly import assemble
from worker.engine.resolve import resolve
from worker.engine.steps import EpochDone, PhaseChanged, RunDone, StepDone, TrainingStep
from worker.engine.train import Trainer
from worker.runtime import exits
from worker.runtime.arguments import ChildArguments
from worker.runtime.attempt import run_attempt
from worker.runtime.lifetime import StopRequest, exit_at_once
from worker.runtime.progress import RunMeter, Teller
from worker.runtime.pulse import PulseWriter
from worker.runtime.redis_client import connect
from worker.runtime.sinks import RunSink, committed_event, fitting
from worker.runtime.specs import dataset_id_of, run_spec
from worker.runtime.tables import SampleFiles

log = logging.getLogger("gapscope.train")
STEP_CHECKPOINT_S = 600.0


class Training:
    """One attempt at a run, from the lock to the exit code."""

    def __init__(self, arguments: ChildArguments, settings: Settings, stop: StopRequest, pulse: PulseWriter) -> None:
        self._arguments = arguments
        self._settings = settings
        self._stop = stop
        self._pulse = pulse
        self._home = Home(settings.home)
        self._folder = self._home.run(arguments.job_id)
        ledger = Ledger(connect(settings.redis_url))
        self._teller = Teller(ledger, "run", arguments.job_id, arguments.token)
        self._journal = Journal.open(
            self._folder,
            run_id=arguments.job_id,
            token=arguments.token,
            attempt=arguments.attempt,
            ledger=ledger,
        )
        self._saved_at = time.monotonic()
        self._started = False
        """This attempt has told that it began."""

    def run(self) -> int:
        """Trains to the end, or until asked to leave, and returns the exit code.

        Raises:
            LostLeaseError: when another holder has the run.
        """
        if isinstance(self._journal.last, RunFinished):  # it ended between its last event and its outcome
            self._journal.flush()
            finish_record(self._folder, self._journal.last)
            return exits.DONE
        try:
            return self._train()
        except (LostLeaseError, FolderBusyError):
            raise
        except GapscopeError as error:
            log.error("%s", error.detail)
            return self._fail(error.problem())
        except Exception as error:
            if worth_another_try(error):
                raise
            log.exception("an unexpected error ends the run")
            detail = f"An unexpected error ended the run: {type(error).__name__}: {error}. The log has the details."
            return self._fail(GapscopeError(detail).problem())

    def _train(self) -> int:
        snapshot = checkpoint.newest(self._folder.checkpoints)
        self._journal.recover(committed_event(snapshot))
        spec = run_spec(self._folder, self._arguments.job_id)
        if self._stop.asked:
            return self._leave()
        store = open_store(self._home, dataset_id_of(spec))
        parts = assemble(spec, self._resolved(spec, store), store)
        self._pulse.step()
        trainer = Trainer(parts) if snapshot is None else Trainer.from_snapshot(parts, snapshot)
        self._tell_start(store, parts.resolved.device)
        self._started = True
        sink = RunSink(self._folder, self._journal, SampleFiles(self._folder, store))
        meter = RunMeter(spec.epochs, 0 if snapshot is None else snapshot.epoch)
        return self._drive(trainer, sink, meter)

    def _drive(self, trainer: Trainer, sink: RunSink, meter: RunMeter) -> int:
        for step in trainer.run():
            self._pulse.step()
            self._take(step, sink, meter)
            if isinstance(step, RunDone):
                return exits.DONE
            if self._stop.asked and not isinstance(step, PhaseChanged):
                if isinstance(step, StepDone) and step.resumable:
                    sink.step_done(trainer.snapshot())
                return self._leave()
            if isinstance(step, StepDone) and step.resumable and self._step_checkpoint_due():
                sink.step_done(trainer.snapshot())
        raise AssertionError("the loop ended without RunDone")

    def _take(self, step: TrainingStep, sink: RunSink, meter: RunMeter) -> None:
        match step:
            case PhaseChanged():
                meter.phase(step.stage, step.phase)
            case StepDone():
                meter.step(step.step, step.num_steps, step.num_samples)
            case EpochDone():
                sink.epoch_done(step)
                meter.epoch_done(step.event.epoch)
                self._saved_at = time.monotonic()
                log.info("epoch %d of %s is finished", step.event.epoch, self._arguments.job_id)
            case RunDone():
                finish_record(self._folder, sink.run_done(step))
        if self._teller.due() or isinstance(step, EpochDone | RunDone):
            self._teller.tell(meter.progress().model_dump_json())

    def _step_checkpoint_due(self) -> bool:
        if time.monotonic() - self._saved_at < STEP_CHECKPOINT_S:
            return False
        self._saved_at = time.monotonic()
        return True

    def _resolved(self, spec: RunSpec, store: PreparedStore) -> ResolvedSpec:
        """Returns the resolved spec of the first claim, which a clone brings along and every resume uses again."""
        path = self._folder.resolved_spec
        if path.exists():
            try:
                return ResolvedSpec.model_validate_json(path.read_bytes())
            except ValueError as error:
                raise CorruptRecordError(f"{path} cannot be read: {error}.") from error
        resolved = resolve(
            spec,
            dataset_id=dataset_id_of(spec),
            store_digest=store.digest,
            preprocess=store.spec,
            cache=self._home.path / "measured.json",
        )
        write_atomically(path, resolved.model_dump_json(indent=1).encode())
        return resolved

    def _tell_start(self, store: PreparedStore, device: str) -> None:
        journal = self._journal
        if not journal.has("run_started"):
            counts = [len(store.indices(split)) for split in ("train", "validation", "test")]
            started = RunStarted(
                epochs=run_spec(self._folder, self._arguments.job_id).epochs,
                num_train=counts[0],
                num_validation=counts[1],
                num_test=counts[2],
                classes=list(store.classes),
                device=device,
            )
            journal.append(fitting(started))
            return
        last, finished = journal.last, self._finished()
        assert last is not None
        if not isinstance(last, RunInterrupted | RunFailed | RunCancelled):
            reason = self._arguments.reason or "The training process ended without a word."
            journal.append(RunInterrupted(reason=reason, epoch=finished), attempt=last.attempt)
        journal.append(RunResumed(epoch=finished))

    def _leave(self) -> int:
        """Says why the run stops here: for good if someone asked to cancel, else until it is taken up again."""
        if self._folder.cancel.exists():
            finish_record(self._folder, self._journal.append(RunCancelled(epoch=self._finished())))
            return exits.CANCELLED
        if self._started:  # else the next start tells of the interruption before it
            reason = "The worker died." if self._stop.orphaned else "The worker was asked to stop."
            self._journal.append(RunInterrupted(reason=reason, epoch=self._finished()))
        return exits.YIELDED

    def _fail(self, problem: Problem) -> int:
        finish_record(self._folder, self._journal.append(RunFailed(error=problem)))
        return exits.FAILED

    def _finished(self) -> int:
        return 0 if self._journal.last_epoch is None else self._journal.last_epoch.epoch


def open_store(home: Home, dataset_id: str) -> PreparedStore:
    """Returns the prepared store of a dataset.

    Raises:
        DatasetError: when the dataset is not prepared.
        CorruptRecordError: when a file of the store is missing or cut off.
    """
    path = home.dataset(dataset_id).store
    if not path.is_dir():
        raise DatasetError(f"The dataset {dataset_id} is not prepared; prepare it, then resume the run.")
    return PreparedStore.open(path)


def worth_another_try(error: BaseException) -> bool:
    """Returns whether an error comes from the machine (memory, device, disk) and not from the run."""
    if isinstance(error, MemoryError | OSError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        word in str(error) for word in ("CUDA error", "out of memory", "DataLoader worker", "can't allocate memory")
    )


if __name__ == "__main__":
    exit_at_once(run_attempt(sys.argv[1:], "run", log, Training))
