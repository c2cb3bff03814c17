"""Subsets on disk: subset.json says what a subset is, sample_ids.json lists its samples.

A run that trains on a subset has a copy of both in its own folder, so that it stays what it is when the subset is gone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import ValidationError

from worker.contract.errors import CorruptRecordError
from worker.contract.layout import SubsetFolder, sync_folder, write_atomically
from worker.contract.subsets import Subset, digest_of


def write_subset(folder: SubsetFolder, subset: Subset, sample_ids: Sequence[str]) -> None:
    """Writes a subset durably; it is there once its head is."""
    folder.path.mkdir(parents=True, exist_ok=True)
    sync_folder(folder.path.parent)
    write_atomically(folder.sample_ids, json.dumps(list(sample_ids)).encode())
    write_atomically(folder.head, subset.model_dump_json(indent=1, exclude={"derived_runs"}).encode())


def read_subset(folder: SubsetFolder) -> Subset | None:
    """Returns what a subset is, or None where there is none.

    Raises:
        CorruptRecordError: when the file is damaged.
    """
    try:
        return Subset.model_validate_json(folder.head.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        raise CorruptRecordError(f"{folder.head} cannot be read: {error.errors()[0]['msg']}.") from None


def read_sample_ids(folder: SubsetFolder, subset: Subset) -> list[str]:
    """Returns the samples of a subset, in the store's order.

    Raises:
        CorruptRecordError: when the list is gone, damaged or another one.
    """
    try:
        sample_ids: list[str] = json.loads(folder.sample_ids.read_bytes())
    except (OSError, ValueError) as error:
        raise CorruptRecordError(f"{folder.sample_ids} cannot be read ({error}): save the subset anew.") from None
    if digest_of(sample_ids) != subset.digest:
        raise CorruptRecordError(f"{folder.sample_ids} is not the list that {folder.head} names: save the subset anew.")
    return sample_ids
