"""What is wrong with a folder of the home, in words with a remedy: nothing of a stranger's making is trusted here.

A folder is opened only after a look at what its entries are: a link that leads out of the home, a pipe or a device
would otherwise be followed, or keep the start waiting for ever. Nothing is moved or changed.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar

import pyarrow.parquet as pq
from redis.exceptions import RedisError

from backend.archive import read_json
from worker.contract.errors import GapscopeError
from worker.contract.keys import JobKind
from worker.contract.layout import Home, SubsetFolder, is_id
from worker.contract.record import read_labels, read_outcome, read_score_outcome, read_spec
from worker.contract.roots import is_within
from worker.contract.subset_files import read_sample_ids, read_subset

T = TypeVar("T")
FolderKind = JobKind | Literal["subset"]
KIND_NAMES: Final[dict[FolderKind, str]] = {
    "dataset": "datasets",
    "run": "runs",
    "score": "scores",
    "batch": "batches",
    "subset": "subsets",
}
MAX_RECORD_BYTES: Final = 64 * 1024 * 1024
"""A JSON document of ours is far smaller; one that is larger is not read into memory."""
MAX_HEADER_BYTES: Final = 32 * 1024 * 1024
_LENGTH_BYTES: Final = 8

FROM_BACKUP: Final = "Restore it from a backup, or move the folder out of the home."
FOREIGN: Final = "Move it out of the home."
RENAMED: Final = "Give it back the name that it had, or move it out of the home."
LINK: Final = "Put the folder itself there (`cp -a`); to use another disk, link the whole folder above it."
RIGHTS: Final = "Give the user that runs Gapscope the right to read and write it (`chmod -R u+rwX`, `chown -R`)."


@dataclass(frozen=True)
class Fault:
    """What is wrong, where, and what to do."""

    path: Path
    reason: str
    remedy: str


def roots(home: Home) -> dict[FolderKind, Path]:
    """Returns the folders in which the folders of jobs and subsets lie; datasets first, which runs need."""
    return {
        "dataset": home.datasets,
        "run": home.runs,
        "score": home.scores,
        "batch": home.batches,
        "subset": home.subsets,
    }


def record_name(kind: FolderKind) -> str:
    """Returns the file without which a folder is none of its kind."""
    return {"score": "request.json", "subset": "subset.json"}.get(kind, "spec.json")


def attempt(path: Path, read: Callable[[], T]) -> T | Fault:
    """Returns what a reader reads, or what keeps it from reading.

    Args:
        path: what it reads.
        read: raises when that cannot be read.
    """
    try:
        return read()
    except PermissionError as error:
        return Fault(Path(error.filename or path), "permission denied", RIGHTS)
    except OSError as error:
        return Fault(Path(error.filename or path), error.strerror or str(error), FROM_BACKUP)
    except GapscopeError as error:
        told = error.detail.replace(f"{path}/", "").replace(f"{path.parent}/", "").rstrip(".")
        return Fault(_named(error.detail, path), told, FROM_BACKUP)
    except RedisError:
        raise  # the server's fault, not the folder's
    except Exception as error:  # whatever is in the file: it must cost this folder alone, never the start
        return Fault(path, f"{type(error).__name__}: {error}"[:300], FROM_BACKUP)


def _named(detail: str, path: Path) -> Path:
    """Returns the file of a folder with which a message begins, else the folder."""
    inside = path.iterdir() if path.is_dir() else ()
    return next((child for child in inside if detail.startswith(f"{child} ")), path)


def entry_fault(home: Home, kind: FolderKind, path: Path) -> Fault | None:
    """Returns what is wrong with a folder before anything in it is read: its name, what it is, where links lead.

    Args:
        home: links may lead to places in it.
        kind: of the folder above it.
        path: of the entry.
    """
    return attempt(path, lambda: _entry_fault(home, kind, path))


def _entry_fault(home: Home, kind: FolderKind, path: Path) -> Fault | None:
    tops = (home.path, path.parent)
    outside = _outside(path, tops)
    if outside is not None:
        return Fault(path, f"it is a link that leads out of the home, to {outside}", LINK)
    if not path.is_dir():
        return Fault(path, f"it is no folder; only folders of {KIND_NAMES[kind]} belong there", FOREIGN)
    if not is_id(path.name):
        return Fault(path, "its name is no id (lower-case letters, digits, '.', '_' and '-')", RENAMED)
    with os.scandir(path) as entries:
        inside = sorted(entries, key=lambda entry: entry.name)
    return next((fault for entry in inside if (fault := _inner_fault(entry, tops)) is not None), None)


def _inner_fault(entry: os.DirEntry[str], tops: tuple[Path, ...]) -> Fault | None:
    path = Path(entry.path)
    outside = _outside(path, tops) if entry.is_symlink() else None
    if outside is not None:
        return Fault(path, f"it is a link that leads out of the home, to {outside}", LINK)
    status = entry.stat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return Fault(path, "it is neither a file nor a folder (a pipe, a socket or a device)", FOREIGN)
    if entry.name.endswith(".json") and status.st_size > MAX_RECORD_BYTES:
        return Fault(path, f"it has {status.st_size:,} bytes; no record is that large", FROM_BACKUP)
    return None


def _outside(path: Path, tops: tuple[Path, ...]) -> str | None:
    """Returns where a link leads, if that is outside of all of some folders (or nowhere)."""
    if not path.is_symlink():
        return None
    real = os.path.realpath(path)
    return None if is_within(real, tops) and os.path.exists(real) else real


def documents_fault(home: Home, kind: FolderKind, job_id: str) -> Fault | None:
    """Returns what is wrong with the small records of a folder; the first that cannot be read."""
    root = roots(home)[kind] / job_id
    for name, read in _DOCUMENTS[kind].items():
        found = attempt(root / name, partial(read, root / name))
        if isinstance(found, Fault):
            return found
    return None


def part_fault(home: Home, kind: FolderKind, job_id: str) -> Fault | None:
    """Returns what is wrong with the large files of a folder, by their ends and headers: it is shown all the same."""
    if kind == "run":
        return _run_part_fault(home, job_id)
    if kind == "dataset":
        return _store_fault(home, job_id)
    if kind == "batch":
        table = home.batch(job_id).table
        return _table_fault(table, "Ask for the batch again.") if table.exists() else None
    if kind == "subset":
        folder = home.subset(job_id)
        subset = read_subset(folder)
        ids = None if subset is None else attempt(folder.sample_ids, lambda: read_sample_ids(folder, subset))
        return ids if isinstance(ids, Fault) else None
    return None


def _run_part_fault(home: Home, run_id: str) -> Fault | None:
    folder = home.run(run_id)
    newest = max(folder.checkpoints.glob("epoch-*.safetensors"), default=None)
    reason = None if newest is None else checkpoint_reason(newest)
    if newest is not None and reason is not None:
        remedy = "Training goes on from the newest one that can be read. Restore this one from a backup, or remove it."
        return Fault(newest, f"the run's newest checkpoint is damaged: {reason}", remedy)
    tables = max(folder.samples.glob("epoch-*.parquet"), default=None)
    if tables is not None:
        return _table_fault(tables, "Restore it from a backup; other epochs can be read.")
    return None


def _store_fault(home: Home, dataset_id: str) -> Fault | None:
    folder = home.dataset(dataset_id)
    if not folder.store.is_dir():
        return None
    remedy = "Restore it from a backup, or remove the dataset's folder, restart, and register it again."
    record = folder.store / "store.json"
    found = attempt(record, lambda: read_json(record))
    if found is None:
        return Fault(record, "there is no such file", remedy)
    if isinstance(found, Fault):
        return Fault(record, found.reason, remedy)
    return _table_fault(folder.store / "samples.parquet", "Restore it from a backup, or prepare the dataset again.")


def _table_fault(path: Path, remedy: str) -> Fault | None:
    found = attempt(path, lambda: pq.read_metadata(path))
    return Fault(path, f"the table is damaged: {found.reason}", remedy) if isinstance(found, Fault) else None


def checkpoint_reason(path: Path) -> str | None:
    """Returns why a checkpoint is no whole safetensors file, by its header and its length; None when it is one.

    Its bytes are checked against their checksum where they are used, by the worker.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if not 2 <= length <= MAX_HEADER_BYTES:
                return "it does not begin as a safetensors file"
            header = json.loads(file.read(length))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        expected = _LENGTH_BYTES + length + max((entry["data_offsets"][1] for entry in tensors), default=0)
        size = path.stat().st_size
    except OSError as error:
        return error.strerror or str(error)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return "its header cannot be read"
    return None if size == expected else f"it has {size:,} bytes, its header says {expected:,}"


_DOCUMENTS: dict[FolderKind, dict[str, Callable[[Path], object]]] = {
    "dataset": {"spec.json": read_spec, "outcome.json": read_outcome},
    "run": {"spec.json": read_spec, "outcome.json": read_outcome, "labels.json": read_labels},
    "score": {"request.json": read_json, "result.json": read_score_outcome},
    "batch": {"spec.json": read_spec, "outcome.json": read_outcome},
    "subset": {"subset.json": lambda path: read_subset(SubsetFolder(path.parent))},
}
