"""Runs as jobs: accept, cancel, resume, clone, delete."""

from __future__ import annotations

import contextlib
import json
import logging
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from backend.access.roots import require_open
from backend.dataset_jobs import DatasetJobs
from backend.estimating import run_bytes
from backend.home_usage import disk_bytes
from backend.jobs import JobTools, now_ms
from backend.lineage import Lineage
from backend.origins import sources_of
from backend.presenting import run_spec
from backend.problems import invalid, invalid_field
from backend.source_runs import require_sources
from worker.contract.errors import ConflictError, CorruptRecordError, GapscopeError, NotFoundError
from worker.contract.events import RunCancelled
from worker.contract.journal import close_run
from worker.contract.layout import RunFolder, new_id, sync_folder, write_atomically
from worker.contract.ledger import DATASET_PREFIX
from worker.contract.lock import FolderBusyError
from worker.contract.record import Change, JobFacts, JobRecord, Moved, SpecRecord, read_labels
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


def facts_of(spec: RunSpec, dataset_id: str, dataset_kind: str, sources: tuple[str, ...] = ()) -> JobFacts:
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
        sources=sources,
        subset_id=spec.subset or "",
    )


def labelled(facts: JobFacts, folder: RunFolder) -> JobFacts:
    """Returns a run's facts with the labels that people gave it, if they gave any and they can be read."""
    try:
        labels = read_labels(folder.labels)
    except (CorruptRecordError, OSError) as error:  # one file that the disk does not give hides no run
        log.warning("%s", error)
        return facts
    return facts if labels is None else labels.on(facts)


def dataset_id_of(spec: RunSpec) -> str:
    """Returns the id of the dataset that a run needs."""
    return spec.dataset.id if isinstance(spec.dataset, DatasetReference) else spec.dataset.dataset_id()


class RunJobs:
    """Accepts and moves runs."""

    def __init__(self, tools: JobTools, datasets: DatasetJobs, lineage: Lineage) -> None:
        self._tools = tools
        self._datasets = datasets
        self._lineage = lineage

    def create(self, spec: RunSpec, *, owner: str, like: str | None = None) -> str:
        """Accepts a run: its spec is on the disk and the ledger knows it when this returns; gives its id.

        Args:
            spec: what to train.
            owner: who asked for it.
            like: the run whose resolved spec is used again (a clone).

        Raises:
            InsufficientStorageError: when the disk is nearly full, or as many runs are kept as may be.
            TooManyError: when the queue is full, or the user's share of it.
            InvalidRequestError: when the spec names a dataset that is not registered, or an earlier run or a subset
                that cannot be built on.
        """
        tools = self._tools
        tools.require_room()
        tools.require_place("run", owner)
        self.check(spec, like=like)
        needed = run_bytes(spec, self._datasets.num_clips(dataset_id_of(spec)), tools.settings.max_samples_bytes)
        with tools.usage.promised(needed), self._datasets.held:
            return self._create(spec, owner, like)

    def expected_bytes(self) -> int:
        """Returns about what the runs that wait or train will still write into their folders."""
        tools, total = self._tools, 0
        for record in tools.ledger.active("run"):
            with contextlib.suppress(GapscopeError, OSError):  # one that cannot be read must not refuse all the others
                spec = run_spec(tools.home, record.id)
                whole = run_bytes(
                    spec, self._datasets.num_clips(record.facts.dataset_id), tools.settings.max_samples_bytes
                )
                total += max(0, whole - disk_bytes(tools.home.run(record.id).path))
        return total

    def _create(self, spec: RunSpec, owner: str, like: str | None) -> str:
        tools, dataset = self._tools, self._dataset_for(spec, owner)
        run_id = new_id("run")
        folder = tools.home.run(run_id)
        folder.path.mkdir(parents=True)
        if like is not None:
            resolved = tools.home.run(like).resolved_spec
            if resolved.exists():
                write_atomically(folder.resolved_spec, resolved.read_bytes())
        self._lineage.fix(spec, folder, like)
        created_ms = now_ms()
        created_at = datetime.fromtimestamp(created_ms / 1_000, tz=UTC)
        SpecRecord(id=run_id, created_at=created_at, spec=spec.model_dump(mode="json"), owner=owner).write(folder.spec)
        sync_folder(folder.path.parent)
        waits = dataset.state != "finished"
        tools.admit(
            "run",
            run_id,
            created_ms=created_ms,
            facts=facts_of(spec, dataset.id, dataset.facts.dataset_kind, sources_of(spec, folder)),
            owner=owner,
            folder=folder.path,
            waiting_for=DATASET_PREFIX + dataset.id if waits else None,
        )
        if not waits:
            tools.dispatcher.send("run", run_id)
        return run_id

    def check(self, spec: RunSpec, *, like: str | None = None) -> None:
        """Passes a spec whose parts are there and go together; writes nothing.

        Args:
            spec: what to train.
            like: the run that it is a clone of.

        Raises:
            InvalidRequestError: when its learning rate would never reach its height, or it names data outside of the
                data roots, a dataset that is not registered, or an earlier run or a subset that cannot be built on.
        """
        tools = self._tools
        _check_schedule(spec)
        require_open(tools.settings, spec.encoder.model_dump(mode="json"), "encoder")
        if isinstance(spec.dataset, DatasetSpec):
            require_open(tools.settings, spec.dataset.model_dump(mode="json"), "dataset")
        else:
            self._datasets.require_protocol(spec.dataset)
            self._datasets.require_known(spec.dataset.id)
        require_sources(tools, spec, dataset_id_of(spec))
        self._lineage.check(spec, dataset_id_of(spec), like)

    def _dataset_for(self, spec: RunSpec, owner: str) -> JobRecord:
        if isinstance(spec.dataset, DatasetSpec):
            return self._datasets.register(spec.dataset, None, owner=owner)
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

    def resume(self, run_id: str, *, owner: str) -> None:
        """Queues a failed or cancelled run again; it goes on after its last finished epoch.

        Raises:
            NotFoundError: when there is no such run.
            ConflictError: in any other state.
        """
        tools, folder = self._tools, self._tools.home.run(run_id)
        record = tools.record("run", run_id)
        if record.state in ("failed", "cancelled"):
            tools.require_room()
        tools.queue_again("run", run_id, (folder.cancel, folder.outcome), owner=owner)
        dataset = self._datasets.referenced(record.facts.dataset_id)
        if dataset.state == "finished":
            tools.dispatcher.send("run", run_id)
        else:
            tools.ledger.wait("run", run_id, DATASET_PREFIX + dataset.id)

    def clone(self, run_id: str, *, owner: str) -> str:
        """Accepts a new run of the same spec and resolved spec; gives its id.

        Raises:
            NotFoundError: when there is no such run.
        """
        self._tools.record("run", run_id)
        return self.create(run_spec(self._tools.home, run_id), owner=owner, like=run_id)

    def delete(self, run_id: str, *, purge: bool) -> tuple[int, int]:
        """Moves an ended run to the trash, or frees its space at once; gives (reclaimable, freed) bytes.

        Raises:
            NotFoundError: when there is no such run.
            ConflictError: code `run-active`, while it is active.
            InsufficientStorageError: when the trash lies on another file system and has no room for it.
        """
        tools = self._tools
        record = tools.record("run", run_id)
        path = tools.home.run(run_id).path
        size = tools.archive.reclaimable_bytes(path)
        active = ConflictError(f"The run {run_id} is active; cancel it first.", code="run-active")
        if not record.ended:
            raise active
        with contextlib.nullcontext() if purge else tools.archive.trashing(path):
            if tools.ledger.delete("run", run_id) is Change.REFUSED:
                raise active
        if not purge:
            return size, 0
        tools.archive.purge(path)
        return 0, size

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


def _check_schedule(spec: RunSpec) -> None:
    # Not a rule of RunSpec: runs of before it must stay readable.
    if spec.schedule.warm_up_epochs >= spec.epochs:
        raise invalid_field(
            "schedule.warm_up_epochs",
            expected=f"less than the run's {spec.epochs} epochs",
            got=f"{spec.schedule.warm_up_epochs:g}",
            remedy="Lower it, or raise epochs: the learning rate would never reach its height.",
        )


def require_folder(tools: JobTools, run_id: str) -> None:
    """Passes when there is a run of that id, Redis or not.

    Raises:
        NotFoundError: when there is none.
    """
    if not tools.home.run(run_id).spec.exists():
        raise NotFoundError(f"There is no run with the id {run_id!r}.", code="run-not-found")
