"""Datasets as jobs: register and prepare, share, cancel, resume."""

from __future__ import annotations

import contextlib
import os
import threading
from datetime import UTC, datetime

from backend.access.roots import require_open
from backend.disk import freeable_bytes
from backend.estimating import require_store_room
from backend.folder_faults import FROM_BACKUP, Fault, documents_fault, entry_fault
from backend.jobs import JobTools, now_ms, same_json
from backend.problems import invalid_field
from backend.stores import Stores
from backend.uses import DatasetUses
from worker.contract.errors import ConflictError
from worker.contract.layout import DatasetFolder, sync_folder
from worker.contract.record import Change, FinalState, JobFacts, JobRecord, Outcome, SpecRecord, read_spec
from worker.contract.spec.datasets import DatasetReference, DatasetSpec
from worker.contract.spec.registry import DATASETS

ALL_ENDS: tuple[FinalState, ...] = ("finished", "failed", "cancelled")


class DatasetJobs:
    """Accepts and moves preparations."""

    def __init__(self, tools: JobTools, stores: Stores) -> None:
        self._tools = tools
        self._stores = stores
        self._registering = threading.Lock()
        self.held = threading.RLock()
        """While it is held no run is launched on a dataset, and no dataset or store is removed."""

    def register(self, spec: DatasetSpec, dataset_id: str | None, *, owner: str, is_upload: bool = False) -> JobRecord:
        """Accepts a dataset and its preparation; the same spec under the same id is the same dataset.

        A dataset whose preparation failed or was cancelled, or whose store is damaged, is prepared again.

        Args:
            spec: what to prepare.
            dataset_id: the id that the user chose; by default it follows from the spec.
            owner: who asked for it.
            is_upload: its clips lie in its own folder, which no data root has to hold.

        Raises:
            InvalidRequestError: code `outside-data-roots` or `no-data-roots` (see access.roots).
            ConflictError: code `dataset-exists`, when the id belongs to another spec; `dataset-set-apart`, when its
                folder cannot be read.
            UnavailableError: code `being-rebuilt`, when it is not known yet whether there is such a dataset.
            InsufficientStorageError: when the disk is nearly full.
            TooManyError: when too many preparations wait.
        """
        tools = self._tools
        if not is_upload:
            require_open(tools.settings, spec.model_dump(mode="json"), "")
        chosen = dataset_id or spec.dataset_id()
        known = tools.ledger.get("dataset", chosen)
        if known is None:
            tools.require_rebuilt()
            needed = require_store_room(tools.settings, spec)
            tools.require_room(needed)
            tools.require_place("dataset", owner)
            with self._registering:  # of two requests at once for one dataset the second finds the first's
                known = tools.ledger.get("dataset", chosen)
                if known is None:
                    with tools.usage.promised(needed):
                        return self._register_new(spec, chosen, owner, is_upload=is_upload)
        self._require_same(chosen, spec)
        return self._again_if_not_there(known)

    def is_there(self, dataset_id: str) -> bool:
        """Returns whether an id belongs to a dataset: not to be listed is not to be off the disk.

        A folder without a file, or that an upload left before it was registered, is none.

        Raises:
            UnavailableError: code `being-rebuilt`, while it is not known.
            ConflictError: code `dataset-set-apart`, where what lies there cannot be read.
        """
        tools, folder = self._tools, self._tools.home.dataset(dataset_id)
        tools.require_rebuilt()
        if tools.ledger.get("dataset", dataset_id) is not None:
            return True
        if not os.path.lexists(folder.path) or _is_left_by_upload(folder):
            return False
        fault = entry_fault(tools.home, "dataset", folder.path) or documents_fault(tools.home, "dataset", dataset_id)
        if fault is None and not folder.spec.exists():
            if not _names(folder):
                return False
            fault = Fault(folder.path, "it has no spec.json", FROM_BACKUP)
        if fault is not None:
            raise ConflictError(
                f"The id {dataset_id!r} belongs to a folder that is set apart: {fault.path}: {fault.reason}. "
                f"{fault.remedy} Or choose another id.",
                code="dataset-set-apart",
            )
        return True

    def _register_new(self, spec: DatasetSpec, chosen: str, owner: str, *, is_upload: bool) -> JobRecord:
        tools = self._tools
        folder = tools.home.dataset(chosen)
        if self.is_there(chosen):  # its entry was lost on the way to Redis
            self._require_same(chosen, spec)
        elif not is_upload and _is_left_by_upload(folder):
            tools.archive.purge(folder.path)
        is_new = not folder.path.exists()
        folder.path.mkdir(parents=True, exist_ok=True)
        created_ms = now_ms()
        created_at = datetime.fromtimestamp(created_ms / 1_000, tz=UTC)
        SpecRecord(id=chosen, created_at=created_at, spec=spec.model_dump(mode="json"), owner=owner).write(folder.spec)
        sync_folder(folder.path.parent)
        facts = JobFacts(name=chosen, dataset_id=chosen, dataset_kind=spec.kind)
        removed = folder.path if is_new else None
        tools.admit("dataset", chosen, created_ms=created_ms, facts=facts, owner=owner, folder=removed)
        tools.dispatcher.send("dataset", chosen)
        return tools.record("dataset", chosen)

    def referenced(self, dataset_id: str) -> JobRecord:
        """Returns a registered dataset; one without a whole store is prepared again.

        Raises:
            InvalidRequestError: code `dataset-unknown`, when it is not registered.
        """
        return self._again_if_not_there(self.require_known(dataset_id))

    def require_known(self, dataset_id: str) -> JobRecord:
        """Returns a registered dataset.

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
        return known

    def num_clips(self, dataset_id: str) -> int:
        """Returns how many clips a prepared dataset has; 0 before it is prepared."""
        facts = self._stores.facts(dataset_id)
        return facts.num_samples if facts is not None else 0

    def require_protocol(self, reference: DatasetReference) -> None:
        """Refuses a run on a registered corpus whose splits were cut by another protocol than the run names.

        Raises:
            InvalidRequestError: code `dataset-other-protocol`.
        """
        stored = read_spec(self._tools.home.dataset(reference.id).spec)
        fields = stored.spec if stored else {}
        kind = DATASETS.get(fields.get("kind", ""))
        if kind is not None and kind.protocol_cuts_splits and fields.get("protocol") != reference.protocol:
            raise invalid_field(
                "dataset.protocol",
                expected=f"{fields.get('protocol')!r}, by which the splits of {reference.id} were cut",
                got=repr(reference.protocol),
                remedy="Set dataset.protocol to it, or register the corpus under the other protocol.",
                code="dataset-other-protocol",
            )

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

    def prepare_again(self, dataset_id: str, *, owner: str) -> None:
        """Queues an ended preparation again: clips that changed are prepared anew, else it ends at once.

        Raises:
            NotFoundError: when there is no such dataset.
            ConflictError: code `not-resumable`, while it is being prepared.
            InsufficientStorageError: when the disk is nearly full.
        """
        folder = self._tools.home.dataset(dataset_id)
        self._tools.record("dataset", dataset_id)
        self._tools.require_room()
        self._tools.queue_again("dataset", dataset_id, (folder.cancel, folder.outcome), ALL_ENDS, owner=owner)
        self._tools.dispatcher.send("dataset", dataset_id)

    def delete(self, dataset_id: str) -> int:
        """Deletes a dataset's folder for good and returns the bytes that this freed.

        Raises:
            NotFoundError: when there is no such dataset.
            ConflictError: code `dataset-in-use` while a run needs it, `dataset-active` while it is being prepared.
            UnavailableError: code `being-rebuilt`, while it is not known which runs there are.
        """
        tools = self._tools
        with self.held, self._registering:  # no run is launched on it, and it is not registered again, in between
            tools.require_rebuilt()  # datasets come back before the runs that need them
            record = tools.record("dataset", dataset_id)
            if runs := DatasetUses.now(tools.live).active(dataset_id):
                raise ConflictError(
                    f"The dataset {dataset_id} is in use by {', '.join(runs[:5])}"
                    f"{' and others' if len(runs) > 5 else ''}. Wait for these runs, or cancel them first.",
                    code="dataset-in-use",
                )
            path = tools.home.dataset(dataset_id).path
            freed = freeable_bytes(path)
            if not record.ended or tools.ledger.delete("dataset", dataset_id) is not Change.OK:
                raise ConflictError(
                    f"The dataset {dataset_id} is being prepared; cancel that first.", code="dataset-active"
                )
            tools.archive.purge(path)
        return freed

    def _again_if_not_there(self, record: JobRecord) -> JobRecord:
        is_there = record.state == "finished" and self._stores.is_whole(record.id)
        if not record.ended or is_there:
            return record
        folder = self._tools.home.dataset(record.id)
        with contextlib.suppress(ConflictError):  # another request was first
            self._tools.queue_again("dataset", record.id, (folder.cancel, folder.outcome), ALL_ENDS, owner=None)
            self._tools.dispatcher.send("dataset", record.id)
        return self._tools.record("dataset", record.id)

    def _require_same(self, dataset_id: str, spec: DatasetSpec) -> None:
        stored = read_spec(self._tools.home.dataset(dataset_id).spec)
        left_out = set() if spec.protocol_cuts_splits else {"protocol"}
        wanted = spec.model_dump(mode="json", exclude=left_out)
        have = {name: value for name, value in (stored.spec if stored else wanted).items() if name not in left_out}
        if not same_json(wanted, have):
            raise ConflictError(
                f"The id {dataset_id!r} belongs to a dataset with another spec. Choose another id.",
                code="dataset-exists",
            )


def _is_left_by_upload(folder: DatasetFolder) -> bool:
    """Returns whether an upload was put in place and never registered: whatever was ever registered has more files."""
    return _names(folder) == {"clips", "upload.json"}


def _names(folder: DatasetFolder) -> set[str]:
    try:
        return {name for name in os.listdir(folder.path) if not name.startswith(".")}
    except OSError:  # entry_fault names what is wrong
        return set()
