"""Run, dataset and score folders, read: specs, tables by epoch, trajectories, logs, trash."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backend.disk import folder_bytes, freeable_bytes
from backend.retention import Freed, Item, Retention, surplus
from worker.contract.errors import CorruptRecordError, GoneError, InsufficientStorageError, NotFoundError
from worker.contract.layout import Home, RunFolder, sync_folder
from worker.contract.sample_tables import table_epochs

log = logging.getLogger(__name__)
LOG_BLOCK = 64 * 1024
MAX_LOG_BYTES = 4 * 1024 * 1024
"""Most of a log that one answer carries."""


def read_json(path: Path) -> dict[str, Any] | None:
    """Returns a JSON object from a file, or None when there is no such file.

    Raises:
        CorruptRecordError: when the file holds something else.
    """
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise CorruptRecordError(f"{path} is no JSON: {error}. Restore it from a backup.") from None
    if not isinstance(document, dict):
        raise CorruptRecordError(f"{path} holds no JSON object. Restore it from a backup.")
    return document


class Archive:
    """Reads the folders of one home, and moves deleted ones to the trash."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._trashed: dict[str, int] = {}

    def table(self, run_id: str, epoch: int | None, newest: int) -> tuple[int, Path]:
        """Returns an epoch and its sample table.

        Args:
            run_id: the run.
            epoch: which epoch; None means the newest.
            newest: finished epochs of the run: what lies beyond is not committed yet.

        Raises:
            NotFoundError: code `epoch-not-found`, when the run has no such table.
            GoneError: code `epoch-thinned`, when it had one, removed since to save space; names those that are kept.
        """
        wanted = newest if epoch is None else epoch
        folder = self._home.run(run_id)
        path = folder.sample_table(max(wanted, 0))
        if 1 <= wanted < newest and not path.exists() and (kept := table_epochs(folder)):
            raise GoneError(
                f"The table of epoch {wanted} of run {run_id} was thinned out (GAPSCOPE_MAX_SAMPLES_BYTES). Kept are "
                f"the epochs {ranges(kept)}. Trajectories hold every epoch.",
                code="epoch-thinned",
            )
        if not 1 <= wanted <= newest or not path.exists():
            have = f"It has finished {newest}." if newest else "It has finished none yet."
            raise NotFoundError(f"Run {run_id} has no table of epoch {wanted}. {have}", code="epoch-not-found")
        return wanted, path

    def newest_table(self, run_id: str, newest: int) -> Path | None:
        """Returns the table of a run's newest finished epoch, or None where it has none yet."""
        path = self._home.run(run_id).sample_table(newest)
        return path if newest >= 1 and path.exists() else None

    def trajectory(self, run_id: str, index: int, num_samples: int, epochs: int) -> tuple[list[float | None], ...]:
        """Returns the gaps and the posteriors of one sample over all finished epochs; None where not evaluated.

        Args:
            run_id: the run.
            index: the sample's row in the store.
            num_samples: rows of the store.
            epochs: finished epochs.
        """
        folder = self._home.run(run_id)
        return tuple(_strided(path, index, num_samples, epochs) for path in (folder.gaps, folder.posteriors))

    def log_tail(self, run_id: str, lines: int) -> str:
        """Returns the last lines of a run's log; nothing when it has none yet."""
        return _tail(self._home.run(run_id).log, lines)

    def reclaimable_bytes(self, folder: Path) -> int:
        """Returns what deleting a folder would free."""
        return folder_bytes(folder)

    @contextlib.contextmanager
    def trashing(self, folder: Path) -> Iterator[None]:
        """Moves a folder to the trash once the block has ended well; the name says when.

        One on another file system is copied before the block, so that it is not forgotten where that fails.

        Raises:
            InsufficientStorageError: when it cannot be copied; nothing has changed then.
        """
        name = f"{folder.name}.{time.time_ns() // 1_000_000}"
        copied = self._copied(folder, self._home.trash / f".{name}") if self._is_elsewhere(folder) else None
        try:
            yield
        except BaseException:
            if copied is not None:
                shutil.rmtree(copied, ignore_errors=True)
            raise
        with contextlib.suppress(FileNotFoundError):
            (copied or folder).rename(self._home.trash / name)
            sync_folder(self._home.trash)
            if copied is not None:
                self.purge(folder)
            sync_folder(folder.parent)

    def restore(self, trashed: Path, folder: Path) -> None:
        """Moves a folder out of the trash: it appears whole or not at all, on another file system too.

        Raises:
            FileNotFoundError: when it does not lie there.
            InsufficientStorageError: when it cannot be copied.
        """
        try:
            trashed.rename(folder)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copied(trashed, folder.with_name(f".{folder.name}.partial")).rename(folder)
            self.purge(trashed)
        sync_folder(folder.parent)
        sync_folder(self._home.trash)

    def _is_elsewhere(self, folder: Path) -> bool:
        """Returns whether no rename leads to the trash: a link fails alike, between two mounts of one disk too."""
        probe = self._home.trash / f".{folder.name}.probe"
        probe.unlink(missing_ok=True)
        try:
            os.link(folder / "spec.json", probe)
        except OSError as error:
            return error.errno == errno.EXDEV
        probe.unlink(missing_ok=True)
        return False

    def _copied(self, folder: Path, copy: Path) -> Path:
        shutil.rmtree(copy, ignore_errors=True)
        try:
            shutil.copytree(folder, copy, symlinks=True)
        except OSError as error:
            shutil.rmtree(copy, ignore_errors=True)
            log.warning("%s could not be copied to %s: %s", folder, copy, str(error)[:500])
            raise InsufficientStorageError(
                f"{folder} could not be copied to {copy.parent}, which lies on another file system. Free space there, "
                "or delete the run for good."
            ) from None
        os.sync()  # the original goes next
        return copy

    def purge(self, folder: Path) -> None:
        """Deletes a folder for good: out of sight by one rename, then file by file."""
        name = f"{folder.name}.purged.{time.time_ns() // 1_000_000}"
        target = self._home.trash / name
        try:
            folder.rename(target)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            target = folder.rename(folder.with_name(f".{name}"))
        shutil.rmtree(target, ignore_errors=True)

    def empty_trash(self, retention: Retention) -> Freed:
        """Deletes what lies in the trash for too long or takes too much, and purges that a crash cut short."""
        freed, items = Freed(), []
        for folder in list(self._home.trash.iterdir()) if self._home.trash.exists() else []:
            if ".purged." in folder.name:
                freed += Freed(0, freeable_bytes(folder))
                shutil.rmtree(folder, ignore_errors=True)
                continue
            stamp = folder.name.rpartition(".")[2]
            age_s = time.time() - int(stamp) / 1_000 if stamp.isdigit() else float("inf")
            items.append(Item(folder.name, age_s, 0 if retention.max_bytes is None else freeable_bytes(folder)))
        for item in surplus(items, retention):
            folder = self._home.trash / item.key
            freed += Freed(1, freeable_bytes(folder))
            self.purge(folder)
        return freed

    def trash_bytes(self) -> int:
        """Returns what emptying the trash would free."""
        # What lies there does not change: it is counted once.
        there = [path for path in self._home.trash.iterdir() if path.is_dir()] if self._home.trash.exists() else []
        self._trashed = {path.name: self._trashed.get(path.name) or folder_bytes(path) for path in there}
        return sum(self._trashed.values())


def _strided(path: Path, index: int, num_samples: int, epochs: int) -> list[float | None]:
    try:
        rows = min(epochs, path.stat().st_size // (4 * num_samples)) if num_samples else 0
    except FileNotFoundError:
        rows = 0
    if rows == 0:
        return [None] * epochs
    values = np.memmap(path, dtype="<f4", mode="r", shape=(rows, num_samples))[:, index]
    read: list[float | None] = [float(value) if np.isfinite(value) else None for value in values]
    return read + [None] * (epochs - rows)


def _tail(path: Path, lines: int) -> str:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return ""
    with file:
        position = file.seek(0, os.SEEK_END)
        tail = b""
        while position > 0 and tail.count(b"\n") <= lines and len(tail) < MAX_LOG_BYTES:
            step = min(LOG_BLOCK, position)
            position -= step
            file.seek(position)
            tail = file.read(step) + tail
    kept = tail[-MAX_LOG_BYTES:].splitlines(keepends=True)[-lines:]
    return b"".join(kept).decode("utf-8", "replace")


def ranges(numbers: Sequence[int], most: int = 40) -> str:
    """Returns ascending numbers as text, runs of neighbours as `first-last`; at most so many parts, the newest."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number, number])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in parts]
    return ", ".join([*(["..."] if len(shown) > most else []), *shown[-most:]])


def resolved_spec(folder: RunFolder) -> dict[str, Any] | None:
    """Returns what a run really uses, or None before its first claim."""
    return read_json(folder.resolved_spec)
