"""The process that trains one run: `python -m worker.runtime.child RUN_ID TOKEN ATTEMPT REASON PULSE_FD PARENT_PID`.

It holds the lock of the run's folder for life. Of a run of several processes it is the first, and starts the others.
How it ends, it says by its exit code (worker.runtime.exits); the supervisor tells the ledger. This module must not know
Celery.
"""

from __future__ import annotations

import logging
import sys
import time

import torch

from worker.contract.errors import CorruptRecordError, GapscopeError, LostLeaseError, Problem
from worker.contract.events import RunCancelled, RunFailed, RunFinished, RunInterrupted, RunResumed, RunStarted
from worker.contract.journal import Journal, finish_record
from worker.contract.layout import Home, write_atomically
from worker.contract.ledger import Ledger
from worker.contract.lock import FolderBusyError
from worker.contract.resources import ResolvedSpec
from worker.contract.settings import Settings
from worker.contract.spec import RunSpec
from worker.engine import checkpoint, memory
from worker.engine.assembly import check_fit, device_of
from worker.engine.batches import Store
from worker.engine.resolve import differences, resolve
from worker.engine.steps import EpochDone, PhaseChanged, RunDone, Snapshot, StepDone, TrainingStep
from worker.engine.train import Trainer
from worker.engine.world import ALONE, World
from worker.runtime import exits
from worker.runtime.agreement import agreed
from worker.runtime.arguments import ChildArguments
from worker.runtime.attempt import run_attempt
from worker.runtime.lifetime import StopRequest, exit_at_once
from worker.runtime.peers import PeerLostError, Peers
from worker.runtime.progress import RunMeter, Teller
from worker.runtime.pulse import PulseWriter
from worker.runtime.redis_client import connect
from worker.runtime.run_parts import RunInputs, make_trainer, read_inputs, read_resolved
from worker.runtime.sinks import RunSink, committed_event, drop_partials
from worker.runtime.specs import dataset_id_of, run_spec
from worker.runtime.tables import SampleFiles

log = logging.getLogger("gapscope.train")
STEP_CHECKPOINT_S = 600.0
MAX_DIFFERENCES = 20
"""An event is small; the log has all."""


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
            max_event_bytes=self._settings.max_event_bytes,
        )
        self._peers: Peers | None = None
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
            lost = None if self._peers is None else self._peers.lost()
            if lost is not None:
                raise PeerLostError(lost) from error
            log.exception("an unexpected error ends the run")
            detail = f"An unexpected error ended the run: {type(error).__name__}: {error}. The log has the details."
            return self._fail(GapscopeError(detail).problem())
        finally:
            if self._peers is not None:
                self._peers.close()

    def _train(self) -> int:
        drop_partials(self._folder)
        snapshot = checkpoint.newest(self._folder.checkpoints)
        self._journal.recover(committed_event(snapshot))
        spec = run_spec(self._folder, self._arguments.job_id)
        if self._stop.asked:
            return self._leave()
        alive = self._pulse.step
        inputs = read_inputs(self._home, self._folder, spec, alive)
        resolved = self._resolved(spec, inputs)
        world = self._join(spec, resolved, inputs.data, snapshot)
        trainer = make_trainer(self._home, spec, resolved, inputs, snapshot=snapshot, world=world, alive=alive)
        self._tell_start(inputs.data, resolved)
        self._started = True
        sink = RunSink(
            self._folder,
            self._journal,
            SampleFiles(self._folder, inputs.store),
            max_samples_bytes=self._settings.max_samples_bytes,
        )
        meter = RunMeter(spec.epochs, 0 if snapshot is None else snapshot.epoch)
        before = trainer.state.finished
        try:
            return self._drive(trainer, sink, meter)
        except torch.OutOfMemoryError as error:
            log.error("%s", error)
            too_little = error.with_traceback(None)  # its frames hold the tensors of the step
        if trainer.state.finished > before:
            raise too_little  # it did fit: another process came, or memory is in pieces
        raise memory.too_large(trainer, alive) or too_little

    def _drive(self, trainer: Trainer, sink: RunSink, meter: RunMeter) -> int:
        for step in trainer.run():
            self._pulse.step()
            self._take(step, sink, meter)
            if isinstance(step, RunDone):
                return exits.DONE
            due = time.monotonic() - self._saved_at >= STEP_CHECKPOINT_S
            verdict = agreed(step, trainer.parts.world, asked=self._stop.asked, due=due)
            if verdict.saves:
                sink.step_done(trainer.snapshot())
                self._saved_at = time.monotonic()
            if verdict.leaves:
                return self._leave()
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

    def _resolved(self, spec: RunSpec, inputs: RunInputs) -> ResolvedSpec:
        """Returns the resolved spec of the first claim, which a clone brings along and every resume uses again."""
        path, start = self._folder.resolved_spec, inputs.start
        builds_on = {"subset_digest": inputs.subset_digest, "start_epoch": None if start is None else start.epoch}
        known = read_resolved(self._folder)
        if known is not None:
            for name, value in builds_on.items():
                if getattr(known, name) != value:
                    raise CorruptRecordError(
                        f"{path} says {name} {getattr(known, name)}, the run's folder has {value}."
                    )
            return known
        resolved = resolve(
            spec,
            dataset_id=dataset_id_of(spec),
            store_digest=inputs.store.digest,
            preprocess=inputs.store.spec,
            features_digest=None if inputs.features is None else inputs.features.digest,
            cache=self._home.path / "measured.json",
            num_train=len(inputs.store.indices("train")),
        )
        resolved = resolved.model_copy(update=builds_on)
        write_atomically(path, resolved.model_dump_json(indent=1).encode())
        return resolved

    def _join(self, spec: RunSpec, resolved: ResolvedSpec, data: Store, snapshot: Snapshot | None) -> World:
        """Starts the other processes of the run, if it has such, and returns the world once they are there."""
        if spec.num_processes == 1:
            return ALONE
        check_fit(spec, resolved, data)
        name = "" if snapshot is None else checkpoint.checkpoint_name(snapshot)
        self._peers = Peers(self._arguments.job_id, spec.num_processes, name)
        self._peers.watch(self._end_for)
        return self._peers.join(device_of(resolved, 0))

    def _end_for(self, reason: str) -> None:
        """Ends this process, which waits for one that is gone."""
        self._pulse.reason(reason)
        exit_at_once(exits.AGAIN)

    def _tell_start(self, store: Store, resolved: ResolvedSpec) -> None:
        journal = self._journal
        if not journal.has("run_started"):
            counts = [len(store.indices(split)) for split in ("train", "validation", "test")]
            started = RunStarted(
                epochs=run_spec(self._folder, self._arguments.job_id).epochs,
                num_train=counts[0],
                num_validation=counts[1],
                num_test=counts[2],
                classes=list(store.classes),
                device=resolved.device,
            )
            journal.append(started)
            return
        last, finished = journal.last, self._finished()
        assert last is not None
        if not isinstance(last, RunInterrupted | RunFailed | RunCancelled):
            reason = self._arguments.reason or "The training process ended without a word."
            journal.append(RunInterrupted(reason=reason, epoch=finished), attempt=last.attempt)
        different = differences(resolved)
        if different:
            log.warning("not as where the run began, so the bits may differ: %s", "; ".join(different))
        journal.append(RunResumed(epoch=finished, differences=different[:MAX_DIFFERENCES]))

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


def worth_another_try(error: BaseException) -> bool:
    """Returns whether an error comes from the machine (memory, device, disk) and not from the run."""
    if isinstance(error, MemoryError | OSError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        word in str(error) for word in ("CUDA error", "out of memory", "DataLoader worker", "can't allocate memory")
    )


if __name__ == "__main__":
    exit_at_once(run_attempt(sys.argv[1:], "run", log, Training))
