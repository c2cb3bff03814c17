"""Where everything lies on disk, and the columns of the tables there.

Ids are checked against a pattern before they become part of a path: no id can lead outside the home.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.contract.errors import CorruptRecordError, NotFoundError

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


def is_id(value: str) -> bool:
    """Returns whether a name can be that of a job's folder."""
    return _ID.match(value) is not None


def id_folders(root: Path) -> list[Path]:
    """Returns the folders under a root whose names are ids, by name: what else lies there is none of ours."""
    return sorted(path for path in root.iterdir() if is_id(path.name) and path.is_dir())


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that after any crash it holds either the old content or the new, and the new is on the disk."""
    with replacing(path) as partial:
        partial.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields the name of a file to write, which becomes `path` at the end, durably; one that fails leaves nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.partial")
    try:
        yield partial
        descriptor = os.open(partial, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk gets its space back
            partial.unlink()
        raise
    sync_folder(path.parent)


def drop_half_written(folder: Path, name: str = "*") -> None:
    """Deletes what processes that were killed left half-written.

    Args:
        folder: which the caller holds, or alone writes this file to.
        name: of the file that they were writing; any, if it is left out.
    """
    for partial in folder.glob(f".{name}.*.partial"):
        with contextlib.suppress(OSError):
            partial.unlink()


def is_half_written(name: str) -> bool:
    """Returns whether a file or folder of this name is one of ours in the making; below clips a name says nothing."""
    return name == "store.partial" or (name.startswith(".") and name.endswith(".partial"))


def require_format(path: Path, document: object, known: int) -> None:
    """Passes for a file of a format that this version knows; older ones are read as they are.

    Args:
        path: of the file, for the message.
        document: its content.
        known: the newest format that this version knows.

    Raises:
        CorruptRecordError: code `format-too-new`, when a later version wrote it.
    """
    written = document.get("format", known) if isinstance(document, dict) else known
    if isinstance(written, int) and written > known:
        raise CorruptRecordError(
            f"{path} has format {written}, written by a later version of Gapscope; this one reads formats up to "
            f"{known}. Install that version, or restore a backup of before.",
            code="format-too-new",
        )


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
class SubsetFolder:
    """A saved subset of training samples, or a run's copy of one (see worker.contract.subset_files)."""

    path: Path

    @property
    def head(self) -> Path:
        """subsets.Subset, written after the list."""
        return self.path / "subset.json"

    @property
    def sample_ids(self) -> Path:
        """The ids of its samples, a JSON list in the store's order."""
        return self.path / "sample_ids.json"


@dataclass(frozen=True)
class RunFolder(JobFolder):
    """The record of a run."""

    @property
    def subset(self) -> SubsetFolder:
        """The run's own copy of the subset that it trains on, made before its 202."""
        return SubsetFolder(self.path / "subset")

    @property
    def labels(self) -> Path:
        """record.RunLabels: name, tags and notes as a person changed them; missing while nobody did."""
        return self.path / "labels.json"

    @property
    def start(self) -> Path:
        """Folder of one checkpoint: the weights of another run that this one starts from, copied at its first claim."""
        return self.path / "start"

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

    @property
    def thinned(self) -> Path:
        """{every}: exists where older sample tables were thinned out (see `kept_every`)."""
        return self.samples / "thinned.json"

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
        """Clips that a built-in dataset makes, or that were uploaded."""
        return self.path / "clips"

    @property
    def upload(self) -> Path:
        """resources.DatasetUpload, where the clips were uploaded; written before them."""
        return self.path / "upload.json"

    @property
    def store(self) -> Path:
        """The prepared store (see worker.datasets.store)."""
        return self.path / "store"

    @property
    def last_used(self) -> Path:
        """Empty; its time says when a run or a subset last named the dataset, give or take an hour."""
        return self.path / "last-used"

    @property
    def annotations(self) -> Path:
        """annotations.AnnotationChange, one a line, appended: tags and notes of people on clips."""
        return self.path / "annotations.jsonl"

    @property
    def features(self) -> Path:
        """Folder of the tables of precomputed features (see worker.engine.features)."""
        return self.path / "features"


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
class BatchFolder(JobFolder):
    """A folder or manifest of clips that is scored."""

    @property
    def plan(self) -> Path:
        """{epoch}: whose weights score, written before the first row, so that all rows are by the same model."""
        return self.path / "plan.json"

    @property
    def rows(self) -> Path:
        """One row a line (score_batches.BatchRow) in the order in which clips are done: what a resumed batch keeps."""
        return self.path / "rows.jsonl"

    @property
    def table(self) -> Path:
        """The rows in the order of the list, columns of score_batches.BATCH_COLUMNS, written before the outcome."""
        return self.path / "table.parquet"


@dataclass(frozen=True)
class Home:
    """GAPSCOPE_HOME."""

    path: Path

    def create(self) -> None:
        """Makes the folders of a home and its format file, where they are missing.

        Raises:
            CorruptRecordError: when a later version made the home: nothing in it is touched.
        """
        self.require_known_format()
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.runs, self.datasets, self.scores, self.batches, self.subsets, self.trash):
            folder.mkdir(parents=True, exist_ok=True)
        if not self.format_file.exists():
            write_json(self.format_file, {"format": HOME_FORMAT})

    def require_known_format(self) -> None:
        """Passes when this version can read the home.

        Raises:
            CorruptRecordError: when a later version made it, or its format file is damaged.
        """
        try:
            document = json.loads(self.format_file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return
        except ValueError as error:
            raise CorruptRecordError(
                f"{self.format_file} is no JSON: {error}. It should hold {json.dumps({'format': HOME_FORMAT})}; write "
                "that, or restore it from a backup."
            ) from error
        require_format(self.format_file, document, HOME_FORMAT)

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
    def batches(self) -> Path:
        """Folder of the batches' folders."""
        return self.path / "batches"

    @property
    def subsets(self) -> Path:
        """Folder of the saved subsets."""
        return self.path / "subsets"

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

    def subset(self, subset_id: str) -> SubsetFolder:
        """Returns a subset's folder, which need not exist; refuses an id that is none."""
        return SubsetFolder(self.subsets / checked_id(subset_id, "subset"))

    def score(self, score_id: str) -> ScoreFolder:
        """Returns a score's folder, which need not exist; refuses an id that is none."""
        return ScoreFolder(self.scores / checked_id(score_id, "score"))

    def batch(self, batch_id: str) -> BatchFolder:
        """Returns a batch's folder, which need not exist; refuses an id that is none."""
        return BatchFolder(self.batches / checked_id(batch_id, "batch"))
