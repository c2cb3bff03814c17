"""Preparation: from a dataset spec to its prepared store, in parallel, resumable, one bad clip harming none.

Clips are decoded (and, for built-in data, made) by expendable torch-free processes; this process turns sound into its
stored form and writes. It works in `store.partial` and renames it to `store` when everything is on the disk.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from worker.contract.errors import CorruptRecordError, MediaError, NotFoundError
from worker.contract.layout import sync_folder
from worker.contract.resources import PrepareProgress
from worker.contract.spec.datasets import DatasetSpec
from worker.datasets.finish import finish_store
from worker.datasets.partial import JOURNAL_FILE, PLAN_FILE, Finished, PartialStore, Shapes
from worker.datasets.source import ClipEntry, DatasetListing, check_listing, load_source
from worker.datasets.store import STORE_FORMAT, PreparedStore, StoreRecord
from worker.media.container import DecodeLimits
from worker.media.decode import DecodedClip
from worker.media.preprocess import Preprocessor
from worker.media.sandbox import DecodePool
from worker.media.wire import DecodeJob, Window

_PROGRESS_EVERY_S = 0.2
_COMMIT_EVERY_S = 1.0
_MAX_QUEUED = 64
"""Decoded clips that wait to be written: bounds the memory."""

OnProgress = Callable[[PrepareProgress], None]
Answer = list[DecodedClip] | MediaError


class PreparationStopped(Exception):
    """should_stop() said so; what is finished is kept, and the next call goes on from there."""


@dataclass(frozen=True)
class StoreSummary:
    """What preparation made, or found ready."""

    path: Path
    record: StoreRecord
    built: bool
    """False when the store was ready before."""
    num_resumed: int = 0
    """Clips that an earlier, interrupted call had finished."""
    seconds: float = 0.0


def spec_digest(spec: DatasetSpec) -> str:
    """Returns the digest that decides whether a store fits: the spec without its protocol, which changes no tensor."""
    return spec.digest(exclude=frozenset({"protocol"}))


def prepare(
    spec: DatasetSpec,
    folder: Path,
    *,
    num_processes: int,
    on_progress: OnProgress = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    clip_timeout_s: float = 120.0,
) -> StoreSummary:
    """Returns the summary of the store in `folder`/store, which is made if there is none that fits the spec.

    Call it from the main thread of a process that nobody else prepares the same folder in (the caller holds a lock).

    Args:
        spec: the dataset.
        folder: the dataset's folder; clips that are made go to `folder`/clips.
        num_processes: decoder processes.
        on_progress: called at most five times a second, and at the end.
        should_stop: asked after every clip and twice a second.
        clip_timeout_s: wall-clock time for one clip, after which it is skipped as media-timeout.

    Raises:
        PreparationStopped: should_stop() said so.
        DatasetError: the dataset cannot be trained on.
    """
    begun = time.monotonic()
    ready = _ready(folder / "store", spec)
    if ready is not None:
        return StoreSummary(folder / "store", ready, built=False)
    on_progress(PrepareProgress())
    listing = load_source(spec).list(folder / "clips")
    check_listing(listing)
    preprocessor = Preprocessor(spec.preprocess)
    shapes = Shapes(len(listing.entries), preprocessor.frames_shape, preprocessor.audio_shape, preprocessor.audio_dtype)
    plan = f"{STORE_FORMAT} {spec_digest(spec)} {listing.digest()}"
    with PartialStore(folder / "store.partial", plan, shapes) as partial, _Writer(partial, preprocessor) as writer:
        results = {item.row: item for item in partial.journal()}
        num_resumed = len(results)
        num_skipped = len(listing.skipped) + sum(1 for item in results.values() if item.code)
        meter = _Meter(on_progress, len(listing.entries), num_resumed, num_skipped)
        todo = [row for row in range(len(listing.entries)) if row not in results]
        with DecodePool(min(num_processes, max(1, len(todo))), timeout_s=clip_timeout_s) as pool:
            for row, answer in pool.run(_jobs(spec, listing, todo), should_stop=should_stop):
                results[row] = writer.take(row, answer)
                meter.update(results[row])
        writer.finish()
        meter.report()
        if len(results) < len(listing.entries):
            raise PreparationStopped(f"{len(results)} of {len(listing.entries)} clips are done.")
    record = finish_store(folder / "store.partial", spec, spec_digest(spec), listing, results, shapes)
    _put_in_place(folder)
    return StoreSummary(folder / "store", record, True, num_resumed, time.monotonic() - begun)


def _ready(path: Path, spec: DatasetSpec) -> StoreRecord | None:
    """Returns the record of a store that fits the spec and can be opened; a damaged one is made anew."""
    try:
        record = PreparedStore.open(path).record
    except (NotFoundError, CorruptRecordError):
        return None
    return record if record.spec_digest == spec_digest(spec) else None


def _jobs(spec: DatasetSpec, listing: DatasetListing, rows: list[int]) -> Iterator[tuple[int, DecodeJob]]:
    window, limits = Window.of(spec.preprocess), DecodeLimits()
    for row in rows:
        entry = listing.entries[row]
        yield row, _job(entry, window, limits)


def _job(entry: ClipEntry, window: Window, limits: DecodeLimits) -> DecodeJob:
    return DecodeJob(
        str(entry.path),
        window,
        limits,
        audio_path=str(entry.audio_path) if entry.audio_path else None,
        start_s=entry.start_s,
        end_s=entry.end_s,
        maker=entry.maker,
        recipe=entry.recipe,
    )


class _Writer:
    """Turns answers into rows of the partial store; spectrograms and writes run in one thread beside the decoding."""

    def __init__(self, partial: PartialStore, preprocessor: Preprocessor) -> None:
        self._partial = partial
        self._preprocessor = preprocessor
        self._thread = ThreadPoolExecutor(1, "store-writer")
        self._futures: list[Future[None]] = []
        self._committed_at = time.monotonic()

    def take(self, row: int, answer: Answer) -> Finished:
        """Queues a clip to be written and returns what became of it."""
        finished = _outcome(row, answer)
        self._futures.append(self._thread.submit(self._write, finished, answer))
        if len(self._futures) >= _MAX_QUEUED:
            for future in self._futures[: _MAX_QUEUED // 2]:
                future.result()
            del self._futures[: _MAX_QUEUED // 2]
        return finished

    def finish(self) -> None:
        """Waits until all is written and makes it durable."""
        self._thread.shutdown(wait=True)
        for future in self._futures:
            future.result()
        self._partial.commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # The thread must be done before the files are closed, whatever went wrong.
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _write(self, finished: Finished, answer: Answer) -> None:
        if not finished.code and not isinstance(answer, MediaError):
            clip = answer[0]
            assert clip.frames is not None
            assert clip.waveform is not None
            self._partial.write(finished.row, clip.frames, self._preprocessor.store_audio(clip.waveform))
        self._partial.finish(finished)
        if time.monotonic() - self._committed_at > _COMMIT_EVERY_S:
            self._partial.commit()
            self._committed_at = time.monotonic()


def _outcome(row: int, answer: Answer) -> Finished:
    if isinstance(answer, MediaError):
        return Finished(row, answer.code, answer.detail)
    clip = answer[0]
    remarks = "; ".join(clip.notes)
    if clip.waveform is None or clip.frames is None:
        what = "sound" if clip.waveform is None else "picture"
        code = "media-no-audio" if clip.waveform is None else "media-no-visual"
        return Finished(row, code, f"The clip has no {what}{f' ({remarks})' if remarks else ''}.")
    info = clip.info
    return Finished(
        row=row,
        duration_s=info.duration_s,
        start_s=clip.start_s,
        padded=clip.padded,
        width=info.width,
        height=info.height,
        frames_per_s=info.frames_per_s,
        sample_rate_hz=info.sample_rate_hz,
        decoding=remarks,
    )


class _Meter:
    """Tells how far preparation is, at most five times a second."""

    def __init__(self, tell: OnProgress, total: int, num_before: int, num_skipped: int) -> None:
        self._tell = tell
        self._total = total
        self._num_before = self._num_done = num_before
        self._num_skipped = num_skipped
        self._begun_at = time.monotonic()
        self._told_at = 0.0

    def update(self, finished: Finished) -> None:
        """Counts a clip and reports if it is time to."""
        self._num_done += 1
        self._num_skipped += bool(finished.code)
        if time.monotonic() - self._told_at >= _PROGRESS_EVERY_S:
            self.report()

    def report(self) -> None:
        """Reports now."""
        self._told_at = time.monotonic()
        rate = (self._num_done - self._num_before) / max(self._told_at - self._begun_at, 1e-3)
        self._tell(
            PrepareProgress(
                done=self._num_done,
                total=self._total,
                skipped=self._num_skipped,
                fraction=self._num_done / self._total,
                eta_s=(self._total - self._num_done) / rate if rate > 0 else None,
                clips_per_s=rate,
            )
        )


def _put_in_place(folder: Path) -> None:
    """Renames the finished store to its name; an older one is moved away first and then deleted.

    Whoever has the older one mapped keeps it. The journal goes last: a kill at any point before costs no clip.
    """
    store, old = folder / "store", folder / "store.old"
    shutil.rmtree(old, ignore_errors=True)
    if store.exists():
        store.rename(old)
    (folder / "store.partial").rename(store)
    sync_folder(folder)
    for name in (JOURNAL_FILE, PLAN_FILE):
        (store / name).unlink(missing_ok=True)
    shutil.rmtree(old, ignore_errors=True)
