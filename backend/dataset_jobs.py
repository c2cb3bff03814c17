"""Datasets as jobs: register and prepare, share, cancel, resume."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

from backend.disk import require_space
from backend.jobs import JobTools, now_ms, same_json
from backend.problems import invalid_field
from backend.stores import Stores
from worker.contract.errors import ConflictError
from worker.contract.layout import sync_folder
from worker.contract.record import FinalState, JobFacts, JobRecord, Outcome, SpecRecord, read_spec
from worker.contract.spec.datasets import DatasetSpec

ALL_ENDS: tuple[FinalState, ...] = ("finished", "failed", "cancelled")


class DatasetJobs:
    """Accepts and moves preparations."""

    def __init__(self, tools: JobTools, stores: Stores) -> None:
        self._tools = tools
        self._stores = stores

    def register(self, spec: DatasetSpec, dataset_id: str | None) -> JobRecord:
        """Accepts a dataset and its preparation; the same spec under the same id is the same dataset.

        A dataset whose preparation failed or was cancelled, or whose store is damaged, is prepared again.

        Args:
            spec: what to prepare.
            dataset_id: the id that the user chose; by default it follows from the spec.

        Raises:
            ConflictError: code `dataset-exists`, when the id belongs to another spec.
            InsufficientStorageError: when the disk is nearly full.
        """
        tools = self._tools
        chosen = dataset_id or spec.dataset_id()
        known = tools.ledger.get("dataset", chosen)
        if known is not None:
            self._require_same(chosen, spec)
            return self._again_if_not_there(known)
        require_space(tools.settings)
        folder = tools.home.dataset(chosen)
        folder.path.mkdir(parents=True, exist_ok=True)
        created_ms = now_ms()
        created_at = datetime.fromtimestamp(created_ms / 1_000, tz=UTC)
        SpecRecord(id=chosen, created_at=created_at, spec=spec.model_dump(mode="json")).write(folder.spec)
        sync_folder(folder.path.parent)
        facts = JobFacts(name=chosen, dataset_id=chosen, dataset_kind=spec.kind)
        tools.ledger.create("dataset", chosen, created_ms=created_ms, facts=facts)
        tools.dispatcher.send("dataset", chosen)
        return tools.record("dataset", chosen)

    def referenced(self, dataset_id: str) -> JobRecord:
        """Returns a registered dataset; one without a whole store is prepared again.

        Raises:
            InvalidRequestError: code `dataset-unknown`, when it is not registered.
        """
        known = self._tools.ledger.get("dataset", dataset_id)
        if known is None:
            raise invalid_field(
                "dataset.id",
                expected="the id of a registered dataset",
                got=repr(dataset_id),
                remedy="GET /api/v1/datasets lists them; or give a `kind` instead, which registers it.",
                code="dataset-unknown",
            )
        return self._again_if_not_there(known)

    def cancel(self, dataset_id: str) -> None:
        """Asks a preparation to end.

        Raises:
            NotFoundError: when there is no such dataset.
            ConflictError: when it is ready, failed or cancelled.
        """
        folder = self._tools.home.dataset(dataset_id)
        moved = self._tools.ask_to_cancel("dataset", dataset_id, folder.cancel)
        if moved.state == "cancelled":
            Outcome.now("cancelled").write(folder.outcome)

    def _again_if_not_there(self, record: JobRecord) -> JobRecord:
        is_there = record.state == "finished" and self._stores.is_whole(record.id)
        if not record.ended or is_there:
            return record
        folder = self._tools.home.dataset(record.id)
        with contextlib.suppress(ConflictError):  # another request was first
            self._tools.queue_again("dataset", record.id, (folder.cancel, folder.outcome), ALL_ENDS)
            self._tools.dispatcher.send("dataset", record.id)
        return self._tools.record("dataset", record.id)

    def _require_same(self, dataset_id: str, spec: DatasetSpec) -> None:
        stored = read_spec(self._tools.home.dataset(dataset_id).spec)
        wanted = spec.model_dump(mode="json", exclude={"protocol"})
        have = {name: value for name, value in (stored.spec if stored else wanted).items() if name != "protocol"}
        if not same_json(wanted, have):
            raise ConflictError(
                f"The id {dataset_id!r} belongs to a dataset with another spec. Choose another id.",
                code="dataset-exists",
            )
