"""The import check: a process lists a dataset's clips, and says what is there and what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

from backend.access.roots import require_open
from backend.estimating import free_bytes, store_bytes_of
from worker.contract.errors import DatasetError, TooManyError, UnavailableError
from worker.contract.resources import DatasetCheck
from worker.contract.settings import Settings
from worker.contract.spec.datasets import DatasetSpec

CHECK_S = 30.0
"""Longest time for a check; a corpus on a slow disk is then left to the preparation."""
MOST_AT_ONCE = 2
_slots = threading.BoundedSemaphore(MOST_AT_ONCE)


def check_dataset(settings: Settings, spec: DatasetSpec) -> DatasetCheck:
    """Returns what a dataset would be made of; nothing is registered.

    Args:
        settings: the home whose disk the store would need.
        spec: of the dataset.

    Raises:
        InvalidRequestError: code `outside-data-roots` or `no-data-roots` (see access.roots).
        TooManyError: code `too-many-checks`, while others are made.
        DatasetError: code `check-too-slow`, when listing takes longer than 30 s.
        UnavailableError: code `check-failed`, when the process ended without an answer.
    """
    require_open(settings, spec.model_dump(mode="json"), "")
    if not _slots.acquire(timeout=CHECK_S):
        raise TooManyError("Other datasets are being checked. Try again in a moment.", code="too-many-checks")
    try:
        found = _listed(settings, spec)
    finally:
        _slots.release()
    needed = store_bytes_of(spec.preprocess, found.num_clips)
    return found.model_copy(update={"store_bytes": needed, "free_bytes": free_bytes(settings)})


def _listed(settings: Settings, spec: DatasetSpec) -> DatasetCheck:
    roots = [str(root) for root in settings.data_roots]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "worker.datasets.check"],
            input=json.dumps({"spec": spec.model_dump(mode="json"), "data_roots": roots}).encode(),
            capture_output=True,
            timeout=CHECK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DatasetError(
            f"Listing the clips takes longer than {CHECK_S:.0f} s. Register the dataset: its preparation lists them "
            "without a limit, and says the same.",
            code="check-too-slow",
        ) from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UnavailableError(
            f"The check ended with {done.returncode}: {said[-1][:300] if said else 'no message'}", code="check-failed"
        )
    return DatasetCheck.model_validate_json(done.stdout)
