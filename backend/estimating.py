"""What a run will take on the disk, told before it is launched; a store that would not fit is refused.

Clips of a dataset that is not prepared yet are counted roughly: files that look like videos, or lines of the list. The
preparation itself counts exactly, once it has listed the clips, and refuses before it decodes the first.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from statistics import median

from backend.disk import needed_free_bytes
from backend.live import IndexEntry
from backend.stores import StoreFacts, Stores
from worker.contract.errors import InsufficientStorageError
from worker.contract.resources import Beat, RunEstimate
from worker.contract.settings import MIB, Settings
from worker.contract.spec import AdamW, AvDigits, DatasetSpec, PreprocessSpec, RunSpec, SmallCnn

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".ts", ".mts", ".m2ts", ".3gp")
COUNT_S = 1.0
"""Longest time that counting clips may take; what is not counted by then is unknown."""
ROW_BYTES = 37
"""Of a per-sample table, a row: 100,000 rows of random values, compressed (measured)."""
TRAJECTORY_BYTES = 8
"""Gap and posterior of a sample in one epoch."""
BASIS_RUNS = 5
"""Newest runs whose time an estimate follows from."""
KEPT_CHECKPOINTS = 4
"""The two newest, the chosen epoch's and the one within an epoch."""
SMALL_PARAMETERS, LARGE_PARAMETERS = 300_000, 22_600_000
"""Of the small CNN pair and of a ResNet-18 pair, which stands for every other encoder."""


def estimate_run(
    settings: Settings,
    stores: Stores,
    spec: RunSpec,
    dataset_id: str,
    earlier: Iterable[IndexEntry] = (),
    workers: Iterable[Beat] = (),
) -> RunEstimate:
    """Returns what a run needs.

    Args:
        settings: limits, and the home whose disk is asked.
        stores: knows which datasets are prepared.
        spec: of the run.
        dataset_id: of its dataset.
        earlier: runs to estimate the time from.
        workers: that could train it.
    """
    seconds, basis = seconds_of(spec, dataset_id, earlier)
    facts = stores.facts(dataset_id)
    dataset = spec.dataset if isinstance(spec.dataset, DatasetSpec) else None
    num_clips = facts.num_samples if facts is not None else count_clips(dataset) if dataset is not None else None
    store_bytes = 0 if facts is not None else store_bytes_of(dataset.preprocess, num_clips) if dataset else None
    own_bytes = run_bytes(spec, num_clips or 0, settings.max_samples_bytes)
    free = free_bytes(settings)
    return RunEstimate(
        dataset_id=dataset_id,
        num_clips=num_clips,
        is_prepared=facts is not None,
        changed=facts is not None and stores.have_changed(dataset_id),
        store_bytes=store_bytes,
        run_bytes=own_bytes,
        free_bytes=free,
        fits=(store_bytes or 0) + own_bytes <= free,
        seconds=seconds,
        seconds_basis=basis,
        least_memory_bytes=_memory_bytes(spec, _values_a_clip(facts, dataset)),
        memory_bytes=memory_of(spec, workers),
    )


def seconds_of(spec: RunSpec, dataset_id: str, earlier: Iterable[IndexEntry]) -> tuple[float | None, str | None]:
    """Returns how long a run will take once it is started, and from what that follows; None where nothing is known.

    Args:
        spec: of the run.
        dataset_id: of its dataset.
        earlier: other runs; those that finished on the same data with the same encoders count, of the same method
            where there are such.
    """
    alike = [
        entry
        for entry in earlier
        if entry.state == "finished"
        and (entry.facts.dataset_id, entry.facts.encoder) == (dataset_id, spec.encoder.kind)
        and entry.started_ms is not None
        and entry.finished_ms is not None
        and entry.epoch > 0
    ]
    same = [entry for entry in alike if entry.facts.objective == spec.objective.kind]
    newest = sorted(same or alike, key=lambda entry: entry.created_ms)[-BASIS_RUNS:]
    if not newest:
        return None, None
    start_s, epoch_s = _start_and_epoch_s([(entry.epoch, _seconds(entry)) for entry in newest])
    words = "run" if len(newest) == 1 else "runs"
    method = spec.objective.kind if same else "other methods"
    return start_s + spec.epochs * epoch_s, f"{len(newest)} finished {words} of {method} on this dataset"


def _seconds(entry: IndexEntry) -> float:
    return ((entry.finished_ms or 0) - (entry.started_ms or 0)) / 1_000


def _start_and_epoch_s(runs: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Returns the seconds that a run takes before its first epoch, and those of an epoch.

    Runs of one length do not tell the two apart: then all counts as epochs.

    Args:
        runs: epochs and seconds of each, at least one.
    """
    (few, short_s), (many, long_s) = min(runs), max(runs)
    if many > few:
        epoch_s = (long_s - short_s) / (many - few)
        start_s = short_s - few * epoch_s
        if epoch_s > 0 and start_s >= 0:
            return start_s, epoch_s
    return 0.0, median(seconds / epochs for epochs, seconds in runs)


def memory_of(spec: RunSpec, workers: Iterable[Beat]) -> int | None:
    """Returns the memory of the largest GPU that may train a run, else of this machine; None where it is elsewhere.

    Args:
        spec: of the run.
        workers: by their beats.
    """
    train = [beat for beat in workers if beat.queue == "train"]
    gpus = [beat for beat in train if any(name.startswith("cuda") for name in beat.devices)]
    if gpus and spec.device != "cpu":
        return max((beat.device_memory_bytes or 0 for beat in gpus), default=0) or None
    here = any(beat.host == socket.gethostname() for beat in train)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if here else None


def _memory_bytes(spec: RunSpec, values_a_clip: int | None) -> int | None:
    """Returns what the weights, their gradients, the optimizer's state and one batch take; None without sizes."""
    if values_a_clip is None:
        return None
    parameters = SMALL_PARAMETERS if isinstance(spec.encoder, SmallCnn) else LARGE_PARAMETERS
    copies = 4 if isinstance(spec.optimizer, AdamW) else 3
    return 4 * (parameters * copies + spec.batch_size * values_a_clip)


def _values_a_clip(facts: StoreFacts | None, dataset: DatasetSpec | None) -> int | None:
    if facts is not None and facts.frames_shape:
        return prod(facts.frames_shape) + prod(facts.audio_shape)
    return dataset.preprocess.stored_bytes if dataset is not None else None  # frames are a byte a value


def require_room(estimate: RunEstimate) -> None:
    """Passes when a run and its store fit on the disk.

    Raises:
        InsufficientStorageError: code `disk-too-small`, when they do not.
    """
    if not estimate.fits:
        raise _too_small("run", (estimate.store_bytes or 0) + estimate.run_bytes, estimate.free_bytes)


def require_store_room(settings: Settings, spec: DatasetSpec) -> int:
    """Returns about what the store of a dataset will take, as far as its clips can be counted, if the disk has it.

    Raises:
        InsufficientStorageError: code `disk-too-small`, when it does not.
    """
    needed, free = store_bytes_of(spec.preprocess, count_clips(spec)) or 0, free_bytes(settings)
    if needed > free:
        raise _too_small("prepared dataset", needed, free)
    return needed


def _too_small(what: str, needed: int, free: int) -> InsufficientStorageError:
    return InsufficientStorageError(
        f"The {what} needs about {needed // MIB:,} MiB; {free // MIB:,} MiB are free for new work. Delete unused "
        "datasets or runs, or take smaller frames, fewer frames or fewer epochs.",
        code="disk-too-small",
    )


def free_bytes(settings: Settings) -> int:
    """Returns the disk space that new work may take."""
    return max(0, shutil.disk_usage(settings.home).free - needed_free_bytes(settings))


def store_bytes_of(preprocess: PreprocessSpec, num_clips: int | None) -> int | None:
    """Returns the size of a prepared store, None where the clips are not counted."""
    return None if num_clips is None else num_clips * preprocess.stored_bytes


def count_clips(spec: DatasetSpec) -> int | None:
    """Returns about how many clips a dataset has, None where that is not quickly known."""
    if isinstance(spec, AvDigits):
        return spec.num_train + spec.num_validation + spec.num_test
    path = getattr(spec, "path", None)
    if not isinstance(path, str):
        return None
    try:
        return _lines(Path(path)) if Path(path).is_file() else _videos(Path(path))
    except OSError:
        return None


def _lines(path: Path) -> int | None:
    deadline, lines = time.monotonic() + COUNT_S, 0
    with path.open("rb") as file:
        while block := file.read(MIB):
            lines += block.count(b"\n")
            if time.monotonic() > deadline:
                return None
    return max(0, lines - 1)


def _videos(root: Path) -> int | None:
    deadline, number = time.monotonic() + COUNT_S, 0
    for _, _, names in os.walk(root):
        number += sum(name.lower().endswith(VIDEO_SUFFIXES) for name in names)
        if time.monotonic() > deadline:
            return None
    return number or None


def run_bytes(spec: RunSpec, num_clips: int, max_samples_bytes: int) -> int:
    """Returns about what a run's folder will take, without its log."""
    parameters = SMALL_PARAMETERS if isinstance(spec.encoder, SmallCnn) else LARGE_PARAMETERS
    states = 3 if isinstance(spec.optimizer, AdamW) else 2  # the weights, and what the optimizer keeps of each
    checkpoints = KEPT_CHECKPOINTS * 4 * parameters * states
    tables = min(max_samples_bytes, spec.epochs * num_clips * ROW_BYTES)
    return checkpoints + tables + spec.epochs * num_clips * TRAJECTORY_BYTES
