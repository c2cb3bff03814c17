"""Preparation: from a dataset spec to its prepared store, in parallel, resumable, one bad clip harming none.

Clips are decoded (and, for built-in data, made) by expendable torch-free processes; this process turns sound into its
stored form and writes. It works in `store.partial` and renames it to `store` when everything is on the disk.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from worker.contract.errors import CorruptRecordError, InsufficientStorageError, MediaError, NotFoundError
from worker.contract.layout import drop_half_written, sync_folder
from worker.contract.resources import PrepareProgress
from worker.contract.sources import have_changed, stamps_of, write_stamps
from worker.contract.spec.datasets import DatasetSpec
from worker.datasets.finish import Digests, finish_store
from worker.datasets.partial import JOURNAL_FILE, PLAN_FILE, Finished, PartialStore, Shapes
from worker.datasets.results import JournalResults
from worker.datasets.roots import keep_within
from worker.datasets.sharing import link_twin, watched_paths
from worker.datasets.source import ClipEntry, DatasetListing, check_listing, load_source
from worker.datasets.store import SOURCES_FILE, STORE_FORMAT, PreparedStore, StoreRecord
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
    """False when the store was ready before, or was another dataset's too."""
    num_resumed: int = 0
    """Clips that an earlier, interrupted call had finished."""
    seconds: float = 0.0


def prepare(
    spec: DatasetSpec,
    folder: Path,
    *,
    num_processes: int,
    on_progress: OnProgress = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    clip_timeout_s: float = 120.0,
    reserved_bytes: int = 0,
    data_roots: Sequence[Path] = (),
) -> StoreSummary:
    """Returns the summary of the store in `folder`/store, which is made if there is none that fits spec and clips.

    A store that another dataset beside it made of the same clips in the same way is linked instead of made.

    Call it from the main thread of a process that nobody else prepares the same folder in (the caller holds a lock).

    Args:
        spec: the dataset.
        folder: the dataset's folder; clips that are made go to `folder`/clips.
        num_processes: decoder processes.
        on_progress: called at most five times a second, and at the end.
        should_stop: asked after every clip and twice a second.
        clip_timeout_s: wall-clock time for one clip, after which it is skipped as media-timeout.
        reserved_bytes: disk space that must stay free.
        data_roots: folders outside of which no clip is read; none: clips may lie anywhere.

    Raises:
        PreparationStopped: should_stop() said so.
        DatasetError: the dataset cannot be trained on.
        InsufficientStorageError: code `disk-too-small`: the store would not fit; nothing was decoded.
    """
    begun = time.monotonic()
    for place in ("store", "store.partial"):
        drop_half_written(folder / place)
    ready, sources = _ready(folder / "store", spec), folder / "store" / SOURCES_FILE
    if ready is not None and have_changed(sources) is False:
        return StoreSummary(folder / "store", ready, built=False)
    on_progress(PrepareProgress())
    listing = keep_within(load_source(spec).list(folder / "clips"), data_roots)
    check_listing(listing)
    stamps = stamps_of(watched_paths(listing, _root(spec)))
    digests = Digests(spec.identity(), listing.digest())
    if ready is not None and ready.listing_digest == digests.listing:
        write_stamps(sources, stamps)
        return StoreSummary(folder / "store", ready, built=False)
    twin = link_twin(folder, spec, digests, listing)
    if twin is not None:
        write_stamps(folder / "store.partial" / SOURCES_FILE, stamps)
        _put_in_place(folder)
        return StoreSummary(folder / "store", twin, built=False, seconds=time.monotonic() - begun)
    preprocessor = Preprocessor(spec.preprocess)
    shapes = Shapes(len(listing.entries), preprocessor.frames_shape, preprocessor.audio_shape, preprocessor.audio_dtype)
    num_clips = len(listing.entries)
    plan = f"{STORE_FORMAT} {digests.spec} {digests.listing}"
    with PartialStore(folder / "store.partial", plan, shapes) as partial, _Writer(partial, preprocessor) as writer:
        before = JournalResults(partial.journal, num_clips)
        num_resumed = len(before)
        meter = _Meter(on_progress, num_clips, num_resumed, len(listing.skipped) + before.num_skipped)
        num_left = num_clips - num_resumed
        _require_room(folder, num_left * spec.preprocess.stored_bytes, reserved_bytes, num_left)
        with DecodePool(min(num_processes, max(1, num_left)), timeout_s=clip_timeout_s) as pool:
            for row, answer in pool.run(_jobs(spec, listing, before.missing()), should_stop=should_stop):
                meter.update(writer.take(row, answer))
                num_left -= 1
        writer.finish()
        meter.report()
        if num_left:
            raise PreparationStopped(f"{num_clips - num_left} of {num_clips} clips are done.")
        results = JournalResults(partial.journal, num_clips)
    write_stamps(folder / "store.partial" / SOURCES_FILE, stamps)
    record = finish_store(folder / "store.partial", spec, digests, listing, results, shapes)
    _put_in_place(folder)
    return StoreSummary(folder / "store", record, True, num_resumed, time.monotonic() - begun)


def _require_room(folder: Path, needed_bytes: int, reserved_bytes: int, num_clips: int) -> None:
    free_bytes = max(0, shutil.disk_usage(folder).free - reserved_bytes)
    if needed_bytes > free_bytes:
        raise InsufficientStorageError(
            f"The prepared store of {num_clips:,} clips needs {needed_bytes >> 20:,} MiB; {free_bytes >> 20:,} MiB are "
            "free for it. Delete unused datasets or runs, or take smaller or fewer frames.",
            code="disk-too-small",
        )


def _root(spec: DatasetSpec) -> Path | None:
    """Returns the folder or list that the user named, if the dataset is of files."""
    path = getattr(spec, "path", None)
    return Path(path) if isinstance(path, str) else None


def _ready(path: Path, spec: DatasetSpec) -> StoreRecord | None:
    """Returns the record of a store that fits the spec and can be opened; a damaged one is made anew."""
    try:
        record = PreparedStore.open(path).record
    except (NotFoundError, CorruptRecordError):
        return None
    return record if record.spec_digest == spec.identity() else None


def _jobs(spec: DatasetSpec, listing: DatasetListing, rows: Iterable[int]) -> Iterator[tuple[int, DecodeJob]]:
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
        measure=True,
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
        quality=clip.quality.values if clip.quality else (),
        content_hash=clip.quality.content_hash if clip.quality else None,
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
