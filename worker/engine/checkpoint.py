"""A checkpoint is one safetensors file: tensors, and in its metadata a JSON record that contains the epoch's event.

The rename that puts it in its place is the commit of the epoch. Nothing is ever pickled. This module must not know what
is in a snapshot. See docs/decisions/0003.
"""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worker.contract.errors import CorruptRecordError
from worker.contract.layout import replacing
from worker.engine.steps import Snapshot

CHECKPOINT_FORMAT = 1
STEP_FILE = "step.safetensors"
_EPOCH_FILE = re.compile(r"epoch-(\d{5,})\.safetensors\Z")
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")
"""How safetensors tells the number of a system's error: in words alone."""


def checkpoint_name(snapshot: Snapshot) -> str:
    """Returns the file name of a snapshot: its epoch's own, or that of the one mid-epoch checkpoint."""
    return STEP_FILE if snapshot.step else f"epoch-{snapshot.epoch:05d}.safetensors"


def save(snapshot: Snapshot, folder: Path) -> Path:
    """Writes a snapshot durably and returns its path: after any crash the old file is there or the whole new one.

    Args:
        snapshot: of a trainer.
        folder: RunFolder.checkpoints; made where it is missing.

    Raises:
        OSError: the disk did not take it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / checkpoint_name(snapshot)
    record = {"epoch": snapshot.epoch, "step": snapshot.step, "record": snapshot.record}
    metadata = {
        "format": str(CHECKPOINT_FORMAT),
        "checksum": _checksum(snapshot.tensors),
        "record": json.dumps(record, sort_keys=True, allow_nan=False),
    }
    with replacing(path) as partial:
        try:
            save_file({name: tensor.contiguous() for name, tensor in snapshot.tensors.items()}, partial, metadata)
        except SafetensorError as error:
            raise _system_error(error, path) from error
    return path


def load(path: Path) -> Snapshot:
    """Returns the snapshot in a file, checked to the last byte.

    Args:
        path: of a checkpoint.

    Raises:
        CorruptRecordError: the file is missing, torn, damaged or of a format that this version does not know.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            _require_format(path, metadata)
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
        record = json.loads(metadata["record"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CorruptRecordError(f"The checkpoint {path.name} cannot be read ({error}): use an earlier one.") from error
    if _checksum(tensors) != metadata.get("checksum"):
        raise CorruptRecordError(f"The checkpoint {path.name} is damaged, its checksum differs: use an earlier one.")
    return Snapshot(int(record["epoch"]), int(record["step"]), tensors, record["record"])


def read_record(path: Path) -> dict[str, Any]:
    """Returns the record of a checkpoint without its tensors (its event, say).

    Args:
        path: of a checkpoint.

    Raises:
        CorruptRecordError: the file cannot be read.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            _require_format(path, metadata)
        record: dict[str, Any] = json.loads(metadata["record"])["record"]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CorruptRecordError(f"The checkpoint {path.name} cannot be read ({error}): use an earlier one.") from error
    return record


def epoch_checkpoints(folder: Path) -> dict[int, Path]:
    """Returns the checkpoints of finished epochs by epoch, ascending. Names alone are looked at."""
    if not folder.is_dir():
        return {}
    found = {int(match[1]): path for path in folder.iterdir() if (match := _EPOCH_FILE.match(path.name))}
    return dict(sorted(found.items()))


def newest(folder: Path) -> Snapshot | None:
    """Returns the snapshot that is furthest on, of those that can be read; None where there is none.

    Args:
        folder: RunFolder.checkpoints.
    """
    best: Snapshot | None = None
    for path in reversed(epoch_checkpoints(folder).values()):
        try:
            best = load(path)
        except CorruptRecordError:
            continue  # a damaged newest checkpoint costs its epoch, not the run
        break
    step_file = folder / STEP_FILE
    if step_file.exists():
        try:
            partial = load(step_file)
        except CorruptRecordError:
            return best
        # A mid-epoch snapshot belongs to the epoch after `epoch`: it only counts where that epoch is not finished.
        if best is None or partial.epoch >= best.epoch:
            return partial
    return best


def _system_error(error: SafetensorError, path: Path) -> Exception:
    """Returns the system's error that safetensors tells of in words: a full disk must be known as one."""
    found = _SYSTEM_ERROR.search(str(error))
    return error if found is None else OSError(int(found[1]), str(error), str(path))


def _require_format(path: Path, metadata: dict[str, str]) -> None:
    """Raises CorruptRecordError for a format that this version cannot read."""
    known = (str(CHECKPOINT_FORMAT), str(CHECKPOINT_FORMAT - 1))
    if metadata.get("format") not in known:
        raise CorruptRecordError(
            f"The checkpoint {path.name} has the format {metadata.get('format')!r}, this version reads "
            f"{CHECKPOINT_FORMAT} and {CHECKPOINT_FORMAT - 1}."
        )


def _checksum(tensors: dict[str, Tensor]) -> str:
    """Returns a CRC-32 over names and bytes of all tensors."""
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(name.encode(), value)
        flat = tensors[name].contiguous().reshape(-1).view(torch.uint8)
        value = zlib.crc32(flat.numpy().data, value)
    return f"{value:08x}"
