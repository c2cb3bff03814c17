"""Batches of clips to score as jobs: accept, show, cancel, resume, keep no longer than the settings allow."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from backend.access.roots import require_open
from backend.archive import read_json
from backend.disk import freeable_bytes
from backend.jobs import JobTools, now_ms
from backend.presenting import shown_state
from backend.retention import Freed, Retention
from backend.run_jobs import RunJobs
from worker.contract.errors import ConflictError, CorruptRecordError
from worker.contract.layout import new_id, sync_folder
from worker.contract.record import Change, JobFacts, JobRecord, Outcome, SpecRecord, read_spec
from worker.contract.score_batches import BatchProgress, ScoreBatch, ScoreBatchRequest

TABLE_PATH = "/api/v1/scores/batch/{}/table"


class BatchJobs:
    """Accepts, moves and shows batches."""

    def __init__(self, tools: JobTools, runs: RunJobs) -> None:
        self._tools = tools
        self._runs = runs

    def accept(self, asked: ScoreBatchRequest, *, owner: str) -> JobRecord:
        """Queues a batch of a user; what was asked for is on the disk when this returns.

        Raises:
            NotFoundError: when there is no such run.
            ConflictError: code `no-checkpoint`, when the run has none, or not that of the epoch.
            TooManyError: when too many wait.
            InsufficientStorageError: when the disk is nearly full.
        """
        tools = self._tools
        self._runs.require_checkpoint(asked.run_id)
        self._require_epoch(asked)
        tools.require_room()
        require_open(tools.settings, asked.path, "path")
        tools.require_place("batch", owner)
        batch_id, created_ms = new_id("batch"), now_ms()
        folder = tools.home.batch(batch_id)
        folder.path.mkdir(parents=True)
        created_at = datetime.fromtimestamp(created_ms / 1_000, tz=UTC)
        SpecRecord(id=batch_id, created_at=created_at, spec=asked.model_dump(mode="json"), owner=owner).write(
            folder.spec
        )
        sync_folder(folder.path.parent)
        facts = JobFacts(run_id=asked.run_id, filename=asked.path)
        tools.admit("batch", batch_id, created_ms=created_ms, facts=facts, owner=owner, folder=folder.path)
        tools.dispatcher.send("batch", batch_id)
        return tools.record("batch", batch_id)

    def _require_epoch(self, asked: ScoreBatchRequest) -> None:
        folder = self._tools.home.run(asked.run_id).checkpoints
        if asked.epoch is not None and not (folder / f"epoch-{asked.epoch:05d}.safetensors").exists():
            raise ConflictError(
                f"The run {asked.run_id} keeps no checkpoint of epoch {asked.epoch}. Leave the epoch out.",
                code="no-checkpoint",
            )

    def shown(self, record: JobRecord) -> ScoreBatch:
        """Returns a batch as the API shows it.

        Raises:
            CorruptRecordError: when its folder is gone or damaged.
        """
        folder = self._tools.home.batch(record.id)
        stored = read_spec(folder.spec)
        try:
            asked = ScoreBatchRequest.model_validate(stored.spec if stored else {})
        except ValidationError as error:
            first = error.errors()[0]["msg"]
            raise CorruptRecordError(f"{folder.path} cannot be read: {first}. Ask for the batch again.") from None
        plan = read_json(folder.plan)
        progress = record.batch_progress() or BatchProgress()
        if record.state != "running":
            progress = progress.model_copy(update={"eta_s": None, "clips_per_s": None})
        return ScoreBatch(
            id=record.id,
            state=shown_state(record, self._tools.watch),
            run_id=asked.run_id,
            path=asked.path,
            epoch=int(plan["epoch"]) if plan else None,
            format=asked.format,
            created_at=record.created_at,
            finished_at=record.finished_at,
            progress=progress,
            table=TABLE_PATH.format(record.id) if record.ended and folder.table.exists() else None,
            error=record.error,
        )

    def table(self, record: JobRecord) -> Path:
        """Returns a batch's table.

        Raises:
            ConflictError: code `no-table`, while there is none.
        """
        path = self._tools.home.batch(record.id).table
        if not record.ended or not path.exists():
            raise ConflictError(
                f"The batch {record.id} is {record.state} and has no table. It comes when the batch is finished, or "
                "cancelled while it runs.",
                code="no-table",
            )
        return path

    def cancel(self, batch_id: str) -> None:
        """Asks a batch to end; rows that are there are kept.

        Raises:
            NotFoundError: when there is no such batch.
            ConflictError: when it has ended.
        """
        folder = self._tools.home.batch(batch_id)
        moved = self._tools.ask_to_cancel("batch", batch_id, folder.cancel)
        if moved.state == "cancelled":
            Outcome.now("cancelled").write(folder.outcome)

    def resume(self, batch_id: str, *, owner: str) -> None:
        """Queues a failed or cancelled batch again; clips that have a row are not scored again.

        Raises:
            NotFoundError: when there is no such batch.
            ConflictError: in any other state.
            TooManyError: when too many wait.
        """
        folder = self._tools.home.batch(batch_id)
        self._tools.queue_again("batch", batch_id, (folder.cancel, folder.outcome), owner=owner)
        self._tools.dispatcher.send("batch", batch_id)

    def delete(self, batch_id: str) -> int:
        """Deletes an ended batch's folder for good and returns the bytes that this freed.

        Raises:
            NotFoundError: when there is no such batch.
            ConflictError: code `batch-active`, while it waits or runs.
        """
        tools = self._tools
        record = tools.record("batch", batch_id)
        path = tools.home.batch(batch_id).path
        freed = freeable_bytes(path)
        if not record.ended or tools.ledger.delete("batch", batch_id) is Change.REFUSED:
            raise ConflictError(f"The batch {batch_id} is {record.state}; cancel it first.", code="batch-active")
        tools.archive.purge(path)
        return freed

    def expire(self) -> Freed:
        """Deletes ended batches that are too old or too many; returns what that freed."""
        settings = self._tools.settings
        retention = Retention(settings.score_days * 86_400, settings.max_scores)
        return self._tools.expire("batch", retention, self._tools.home.batches)
