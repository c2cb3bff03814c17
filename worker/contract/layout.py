"""Where everything lies on disk, and the columns of the tables there.

Ids are checked against a pattern before they become part of a path: no id can lead outside the home.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.contract.errors import NotFoundError

HOME_FORMAT = 1
RUN_FORMAT = 1
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")

SAMPLE_COLUMNS: dict[str, str] = {
    "sample_id": "string",
    "split": "dictionary",
    "label": "dictionary",
    "gap": "float32",
    "posterior_imbalanced": "float32",
    "loss_weight": "float32",
    "p_true_fused": "float32",
    "p_true_audio": "float32",
    "p_true_visual": "float32",
    "predicted_fused": "dictionary",
    "predicted_audio": "dictionary",
    "predicted_visual": "dictionary",
    "fused_correct": "bool",
    "audio_correct": "bool",
    "visual_correct": "bool",
}
"""Columns of samples/epoch-<k>.parquet: rows in the store's order; test rows only where that split was evaluated."""


def new_id(prefix: str) -> str:
    """Returns a new id: prefix, time in base 36 (so that ids sort by time) and 40 random bits."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    milliseconds, text = time.time_ns() // 1_000_000, ""
    while milliseconds:
        milliseconds, digit = divmod(milliseconds, 36)
        text = digits[digit] + text
    return f"{prefix}-{text}-{secrets.token_hex(5)}"


def checked_id(value: str, what: str) -> str:
    """Returns `value` if it is a well-formed id.

    Raises:
        NotFoundError: when it is not, since nothing can have such an id.
    """
    if not _ID.match(value):
        raise NotFoundError(f"There is no {what} with the id {value[:80]!r}.", code=f"{what}-not-found")
    return value


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that after any crash it holds either the old content or the new, and the new is on the disk."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    sync_folder(path.parent)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes a JSON file atomically and durably."""
    write_atomically(path, json.dumps(value, indent=1, sort_keys=True).encode())


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder (created, renamed, deleted files) survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class JobFolder:
    """What the folders of runs and datasets have alike: a job that a child process works on."""

    path: Path

    @property
    def spec(self) -> Path:
        """{format, id, created_at, spec}, written before the job's 202."""
        return self.path / "spec.json"

    @property
    def log(self) -> Path:
        """Standard output and error of the job's processes."""
        return self.path / "log.txt"

    @property
    def lock(self) -> Path:
        """The lock file that the writing child holds (flock) for life; names it as {pid, start_time, host, token}."""
        return self.path / "lock"

    @property
    def cancel(self) -> Path:
        """Exists when someone asked to cancel; written before the 202."""
        return self.path / "cancel.json"

    @property
    def outcome(self) -> Path:
        """{format, state, error?}: the final state, written before the ledger learns it."""
        return self.path / "outcome.json"


@dataclass(frozen=True)
class RunFolder(JobFolder):
    """The record of a run."""

    @property
    def resolved_spec(self) -> Path:
        """resources.ResolvedSpec, written at the first claim."""
        return self.path / "resolved_spec.json"

    @property
    def events(self) -> Path:
        """One event a line; a line once complete never changes."""
        return self.path / "events.jsonl"

    @property
    def samples(self) -> Path:
        """Folder of the per-epoch tables."""
        return self.path / "samples"

    def sample_table(self, epoch: int) -> Path:
        """Returns the table of one epoch (epochs count from 1)."""
        return self.samples / f"epoch-{epoch:05d}.parquet"

    @property
    def gaps(self) -> Path:
        """float32 (epochs, N), appended: the trajectory of sample i is one strided read. NaN where not evaluated."""
        return self.samples / "gap.f32"

    @property
    def posteriors(self) -> Path:
        """float32 (epochs, N), appended, as `gaps`."""
        return self.samples / "posterior.f32"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"


@dataclass(frozen=True)
class DatasetFolder(JobFolder):
    """A registered dataset."""

    @property
    def clips(self) -> Path:
        """Clips that a built-in dataset makes."""
        return self.path / "clips"

    @property
    def store(self) -> Path:
        """The prepared store (see worker.datasets.store)."""
        return self.path / "store"


@dataclass(frozen=True)
class ScoreFolder:
    """An uploaded clip and its scores."""

    path: Path

    @property
    def request(self) -> Path:
        """scores.ScoreRequest, written before the 202."""
        return self.path / "request.json"

    @property
    def result(self) -> Path:
        """{format, state, epoch, result?, error?, finished_at}, written before the ledger learns it."""
        return self.path / "result.json"


@dataclass(frozen=True)
class Home:
    """GAPSCOPE_HOME."""

    path: Path

    def create(self) -> None:
        """Makes the folders of a home and its format file, where they are missing."""
        for folder in (self.runs, self.datasets, self.scores, self.trash):
            folder.mkdir(parents=True, exist_ok=True)
        if not self.format_file.exists():
            write_json(self.format_file, {"format": HOME_FORMAT})

    @property
    def format_file(self) -> Path:
        """{format}."""
        return self.path / "home.json"

    @property
    def runs(self) -> Path:
        """Folder of the run folders."""
        return self.path / "runs"

    @property
    def datasets(self) -> Path:
        """Folder of the dataset folders."""
        return self.path / "datasets"

    @property
    def scores(self) -> Path:
        """Folder of the score folders."""
        return self.path / "scores"

    @property
    def trash(self) -> Path:
        """Deleted run folders, for a while."""
        return self.path / "trash"

    def run(self, run_id: str) -> RunFolder:
        """Returns a run's folder, which need not exist; refuses an id that is none."""
        return RunFolder(self.runs / checked_id(run_id, "run"))

    def dataset(self, dataset_id: str) -> DatasetFolder:
        """Returns a dataset's folder, which need not exist; refuses an id that is none."""
        return DatasetFolder(self.datasets / checked_id(dataset_id, "dataset"))

    def score(self, score_id: str) -> ScoreFolder:
        """Returns a score's folder, which need not exist; refuses an id that is none."""
        return ScoreFolder(self.scores / checked_id(score_id, "score"))
