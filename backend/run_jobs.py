"""Runs as jobs: accept, cancel, resume, clone, delete."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from backend.dataset_jobs import DatasetJobs
from backend.disk import require_space
from backend.jobs import JobTools, now_ms
from backend.presenting import run_spec
from backend.problems import invalid, invalid_field
from worker.contract.errors import ConflictError, GapscopeError, NotFoundError
from worker.contract.events import RunCancelled
from worker.contract.journal import close_run
from worker.contract.layout import new_id, sync_folder, write_atomically
from worker.contract.ledger import DATASET_PREFIX
from worker.contract.lock import FolderBusyError
from worker.contract.record import Change, JobFacts, JobRecord, Moved, SpecRecord
from worker.contract.spec import PRESETS, DatasetReference, RunSpec, apply_preset
from worker.contract.spec.datasets import DatasetSpec

log = logging.getLogger(__name__)


def parse_run(fields: dict[str, Any]) -> RunSpec:
    """Returns the spec that a request means, its preset filled in.

    Raises:
        InvalidRequestError: when a preset or a field is not valid.
    """
    try:
        # Strict, as the document says: true is no integer, and "3" is none either.
        return RunSpec.model_validate_json(json.dumps(apply_preset(fields)), strict=True)
    except ValidationError as error:
        raise invalid(error) from None
    except KeyError as error:
        raise invalid_field(
            "preset",
            expected=f"one of {', '.join(preset.id for preset in PRESETS)}",
            got=str(error),
            remedy="GET /api/v1/catalog lists the presets.",
            code="preset-unknown",
        ) from None


def facts_of(spec: RunSpec, dataset_id: str, dataset_kind: str) -> JobFacts:
    """Returns what lists show and filter runs by."""
    dataset = spec.dataset.id if isinstance(spec.dataset, DatasetReference) else dataset_kind
    return JobFacts(
        name=spec.name or f"{dataset} · {spec.objective.kind} · seed {spec.seed}",
        tags=spec.tags,
        dataset_id=dataset_id,
        dataset_kind=dataset_kind,
        encoder=spec.encoder.kind,
        fusion=spec.fusion.kind,
        objective=spec.objective.kind,
        epochs=spec.epochs,
    )


def dataset_id_of(spec: RunSpec) -> str:
    """Returns the id of the dataset that a run needs."""
    return spec.dataset.id if isinstance(spec.dataset, DatasetReference) else spec.dataset.dataset_id()


class RunJobs:
    """Accepts and moves runs."""

    def __init__(self, tools: JobTools, datasets: DatasetJobs) -> None:
        self._tools = tools
        self._datasets = datasets

    def create(self, spec: RunSpec, *, like: str | None = None) -> str:
        """Accepts a run: its spec is on the disk and the ledger knows it when this returns; gives its id.

        Args:
            spec: what to train.
            like: the run whose resolved spec is used again (a clone).

        Raises:
            InsufficientStorageError: when the disk is nearly full.
            TooManyError: when the queue is full.
            InvalidRequestError: when the spec names a dataset that is not registered.
        """
        tools = self._tools
        require_space(tools.settings)
        tools.require_place("run", tools.settings.max_queued_runs)
        dataset = self._dataset_for(spec)
        run_id = new_id("run")
        folder = tools.home.run(run_id)
        folder.path.mkdir(parents=True)
        if like is not None:
            resolved = tools.home.run(like).resolved_spec
            if resolved.exists():
                write_atomically(folder.resolved_spec, resolved.read_bytes())
        created_ms = now_ms()
        created_at = datetime.fromtimestamp(created_ms / 1_000, tz=UTC)
        SpecRecord(id=run_id, created_at=created_at, spec=spec.model_dump(mode="json")).write(folder.spec)
        sync_folder(folder.path.parent)
        waits = dataset.state != "finished"
        tools.ledger.create(
            "run",
            run_id,
            created_ms=created_ms,
            facts=facts_of(spec, dataset.id, dataset.facts.dataset_kind),
            waiting_for=DATASET_PREFIX + dataset.id if waits else None,
        )
        if not waits:
            tools.dispatcher.send("run", run_id)
        return run_id

    def _dataset_for(self, spec: RunSpec) -> JobRecord:
        if isinstance(spec.dataset, DatasetSpec):
            return self._datasets.register(spec.dataset, None)
        return self._datasets.referenced(spec.dataset.id)

    def cancel(self, run_id: str) -> None:
        """Asks a run to end; one that waits in the queue is cancelled at once.

        Raises:
            NotFoundError: when there is no such run.
            ConflictError: when it has ended.
        """
        moved = self._tools.ask_to_cancel("run", run_id, self._tools.home.run(run_id).cancel)
        if moved.state == "cancelled":
            self.close_cancelled(run_id, moved)

    def close_cancelled(self, run_id: str, moved: Moved) -> None:
        """Writes the last event and the outcome of a run that nobody trains and that was cancelled."""
        tools = self._tools
        record = tools.ledger.get("run", run_id)
        try:
            close_run(
                tools.home.run(run_id),
                run_id=run_id,
                token=moved.token,
                attempt=record.attempt if record else 1,
                ledger=tools.ledger,
                event=RunCancelled(epoch=0),
                wait_s=0.5,
            )
        except (
            FolderBusyError,
            GapscopeError,
            OSError,
        ) as error:  # cancel.json is there: a rebuild ends it the same way
            log.warning("%s: cancelled, but its record could not be closed: %s", run_id, error)

    def resume(self, run_id: str) -> None:
        """Queues a failed or cancelled run again; it goes on after its last finished epoch.

        Raises:
            NotFoundError: when there is no such run.
            ConflictError: in any other state.
        """
        tools, folder = self._tools, self._tools.home.run(run_id)
        record = tools.record("run", run_id)
        if record.state in ("failed", "cancelled"):
            require_space(tools.settings)
            tools.require_place("run", tools.settings.max_queued_runs)
        tools.queue_again("run", run_id, (folder.cancel, folder.outcome))
        dataset = self._datasets.referenced(record.facts.dataset_id)
        if dataset.state == "finished":
            tools.dispatcher.send("run", run_id)
        else:
            tools.ledger.wait("run", run_id, DATASET_PREFIX + dataset.id)

    def clone(self, run_id: str) -> str:
        """Accepts a new run of the same spec and resolved spec; gives its id.

        Raises:
            NotFoundError: when there is no such run.
        """
        self._tools.record("run", run_id)
        return self.create(run_spec(self._tools.home, run_id), like=run_id)

    def delete(self, run_id: str, *, purge: bool) -> tuple[int, int]:
        """Moves an ended run to the trash, or frees its space at once; gives (reclaimable, freed) bytes.

        Raises:
            NotFoundError: when there is no such run.
            ConflictError: code `run-active`, while it is active.
        """
        tools = self._tools
        record = tools.record("run", run_id)
        path = tools.home.run(run_id).path
        size = tools.archive.reclaimable_bytes(path)
        if not record.ended or tools.ledger.delete("run", run_id) is Change.REFUSED:
            raise ConflictError(f"The run {run_id} is active; cancel it first.", code="run-active")
        if purge:
            tools.archive.purge(path)
            return 0, size
        tools.archive.to_trash(path)
        return size, 0

    def require_checkpoint(self, run_id: str) -> JobRecord:
        """Returns a run that has a checkpoint to score with.

        Raises:
            NotFoundError: when there is no such run.
            ConflictError: code `no-checkpoint`, when it has not finished an epoch.
        """
        record = self._tools.record("run", run_id)
        folder = self._tools.home.run(run_id).checkpoints
        if record.epoch < 1 or not folder.is_dir() or not any(folder.iterdir()):
            raise ConflictError(
                f"The run {run_id} has no finished epoch yet; wait for its first.", code="no-checkpoint"
            )
        return record


def require_folder(tools: JobTools, run_id: str) -> None:
    """Passes when there is a run of that id, Redis or not.

    Raises:
        NotFoundError: when there is none.
    """
    if not tools.home.run(run_id).spec.exists():
        raise NotFoundError(f"There is no run with the id {run_id!r}.", code="run-not-found")
