"""The trash: deleted runs, listed, brought back, or deleted for good."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import ValidationError

from backend.disk import freeable_bytes
from backend.jobs import JobTools
from backend.rebuild import Rebuilder
from backend.run_jobs import dataset_id_of
from worker.contract.errors import CorruptRecordError, NotFoundError
from worker.contract.layout import RunFolder
from worker.contract.record import at, read_labels, read_outcome, read_spec
from worker.contract.resources import TrashedRun
from worker.contract.spec import RunSpec

log = logging.getLogger(__name__)
SHORT_HOURS = 1.0
"""What may stay in the trash while disk or home are nearly full."""


def trash_hours(tools: JobTools) -> float:
    """Returns for how many hours deleted runs can be brought back now."""
    hours = tools.settings.trash_hours
    return min(hours, SHORT_HOURS) if tools.is_short() else hours


@dataclass(frozen=True)
class Entry:
    """A folder in the trash."""

    run_id: str
    deleted_ms: int
    path: Path


class Trash:
    """The runs in the trash of one home."""

    def __init__(self, tools: JobTools, rebuilder: Rebuilder) -> None:
        self._tools = tools
        self._rebuilder = rebuilder

    def entries(self) -> list[Entry]:
        """Returns what lies there, the last deleted first."""
        return sorted(self._found(), key=lambda entry: (-entry.deleted_ms, entry.run_id))

    def _found(self) -> Iterator[Entry]:
        for path in self._tools.home.trash.iterdir():
            run_id, _, stamp = path.name.rpartition(".")
            if (
                not path.name.startswith(".")
                and ".purged." not in path.name
                and stamp.isdigit()
                and (path / "spec.json").exists()
            ):
                yield Entry(run_id, int(stamp), path)

    def dataset_ids(self) -> set[str]:
        """Returns the datasets that runs in the trash name: they can still be brought back."""
        found = set()
        for entry in self._found():
            with contextlib.suppress(CorruptRecordError, ValidationError):
                stored = read_spec(RunFolder(entry.path).spec)
                if stored is not None:
                    found.add(dataset_id_of(RunSpec.model_validate(stored.spec)))
        return found

    def shown(self, entry: Entry) -> TrashedRun:
        """Returns a deleted run as the API shows it; one that cannot be read is shown by its id."""
        folder, deleted_at = RunFolder(entry.path), at(entry.deleted_ms)
        name, tags, objective, state = entry.run_id, [], None, None
        try:
            spec, labels, outcome = read_spec(folder.spec), read_labels(folder.labels), read_outcome(folder.outcome)
        except CorruptRecordError as error:
            log.warning("in the trash: %s", error.detail)
        else:
            asked = spec.spec if spec else {}
            objective = str((asked.get("objective") or {}).get("kind", "")) or None
            name = (labels.name if labels else asked.get("name")) or entry.run_id
            tags = list(labels.tags if labels else asked.get("tags") or ())
            state = outcome.state if outcome else None
        return TrashedRun(
            id=entry.run_id,
            name=name,
            tags=tags,
            objective=objective,
            state=state,
            deleted_at=deleted_at,
            empties_at=deleted_at + timedelta(hours=trash_hours(self._tools)),
            num_bytes=freeable_bytes(entry.path),
        )

    def restore(self, run_id: str) -> None:
        """Brings a deleted run back as it was: its folder first, then the ledger. Nothing to do where it is back.

        Raises:
            NotFoundError: code `not-in-trash`, when it lies in the trash no more, or never did.
        """
        tools, folder = self._tools, self._tools.home.run(run_id)
        if tools.ledger.get("run", run_id) is not None:
            return
        if not folder.spec.exists():
            entry = self._require(run_id)
            try:
                tools.archive.restore(entry.path, folder.path)
            except FileNotFoundError:
                raise _not_there(run_id) from None
        self._rebuilder.restore_run(run_id)

    def purge(self, run_id: str) -> int:
        """Deletes a deleted run for good; returns the bytes that this freed.

        Raises:
            NotFoundError: code `not-in-trash`, when it does not lie there.
        """
        return self._purge(self._require(run_id))

    def empty(self) -> int:
        """Deletes all that lies in the trash for good; returns the bytes that this freed."""
        return sum(self._purge(entry) for entry in self.entries())

    def _purge(self, entry: Entry) -> int:
        size = freeable_bytes(entry.path)
        self._tools.archive.purge(entry.path)
        return size

    def _require(self, run_id: str) -> Entry:
        entry = next((entry for entry in self.entries() if entry.run_id == run_id), None)
        if entry is None:
            raise _not_there(run_id)
        return entry


def _not_there(run_id: str) -> NotFoundError:
    return NotFoundError(
        f"The run {run_id!r} does not lie in the trash: it was deleted for good, or never deleted.",
        code="not-in-trash",
    )
