"""Tags and notes on clips, kept for each dataset in annotations.jsonl: one appended line a deed, so a crash loses none.

A line that was cut off by a crash was never answered for: readers pass over it and the next writer removes it. What the
lines come to is kept in memory and read on from where it ends; another process may append too (flock).
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from worker.contract.annotations import (
    MAX_TAGS,
    Annotation,
    AnnotationChange,
    AnnotationsChanged,
    AnnotationSummary,
    TagCount,
    Tagged,
)
from worker.contract.errors import CorruptRecordError, InvalidRequestError
from worker.contract.layout import Home, sync_folder

MOST_DATASETS: Final = 64
MOST_TAGS: Final = 1_000


@dataclass
class _Clip:
    """What is said of a clip: tag -> (who, when), and the note with who and when."""

    tags: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    note: str = ""
    note_by: str | None = None
    note_at: datetime | None = None


class _Book:
    """The annotations of one dataset, as far as its file was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clips: dict[str, _Clip] = {}
        self.version = 0
        self._read = 0
        self._inode = 0

    def advance(self) -> None:
        """Reads the complete lines that were appended since."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self.clips, self._read, self._inode = {}, 0, 0
            return
        if status.st_ino != self._inode or status.st_size < self._read:
            self.clips, self._read, self._inode = {}, 0, status.st_ino
        if status.st_size == self._read:
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        for line in data[: data.rfind(b"\n") + 1].splitlines():
            try:
                change = AnnotationChange.model_validate_json(line)
            except ValidationError as error:
                what = error.errors()[0]["msg"]
                raise CorruptRecordError(
                    f"{self.path} has a line at byte {self._read} that cannot be read: {what}. Restore the file from a "
                    "backup, or remove that line."
                ) from None
            self.apply(change)
            self._read += len(line) + 1

    def apply(self, change: AnnotationChange) -> int:
        """Takes a change in; returns the number of clips that are other than before."""
        self.version += 1
        return sum(self._change(sample_id, change) for sample_id in change.sample_ids)

    def _change(self, sample_id: str, change: AnnotationChange) -> bool:
        clip = self.clips.get(sample_id) or _Clip()
        new = [tag for tag in change.add_tags if tag not in clip.tags]
        gone = [tag for tag in change.remove_tags if tag in clip.tags]
        noted = change.note is not None and change.note != clip.note
        for tag in new:
            clip.tags[tag] = (change.by, change.at)
        for tag in gone:
            del clip.tags[tag]
        if noted:
            clip.note = change.note or ""
            clip.note_by, clip.note_at = (change.by, change.at) if clip.note else (None, None)
        if clip.tags or clip.note:
            self.clips[sample_id] = clip
        else:
            self.clips.pop(sample_id, None)
        return bool(new or gone or noted)

    def annotation(self, sample_id: str) -> Annotation:
        """Returns what is said of a clip."""
        clip = self.clips.get(sample_id, _Clip())
        tags = [Tagged(tag=tag, by=by, at=at) for tag, (by, at) in sorted(clip.tags.items())]
        return Annotation(sample_id=sample_id, tags=tags, note=clip.note, note_by=clip.note_by, note_at=clip.note_at)


class Annotations:
    """The annotations of all datasets of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._books: OrderedDict[str, _Book] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def _book(self, dataset_id: str) -> Iterator[_Book]:
        with self._lock:
            book = self._books.pop(dataset_id, None) or _Book(self._home.dataset(dataset_id).annotations)
            self._books[dataset_id] = book
            if len(self._books) > MOST_DATASETS:
                self._books.popitem(last=False)
            book.advance()
            yield book

    def of(self, dataset_id: str, sample_id: str) -> Annotation:
        """Returns what is said of one clip; nothing is an empty annotation."""
        with self._book(dataset_id) as book:
            return book.annotation(sample_id)

    def tags_of(self, dataset_id: str, sample_ids: Sequence[str]) -> dict[str, list[str]]:
        """Returns the tags of those of some clips that have any."""
        with self._book(dataset_id) as book:
            found = {one: sorted(book.clips[one].tags) for one in sample_ids if one in book.clips}
        return {sample_id: tags for sample_id, tags in found.items() if tags}

    def with_tag(self, dataset_id: str, tag: str) -> list[str]:
        """Returns the clips that have a tag."""
        with self._book(dataset_id) as book:
            return [sample_id for sample_id, clip in book.clips.items() if tag in clip.tags]

    def noted(self, dataset_id: str) -> list[str]:
        """Returns the clips that have a note."""
        with self._book(dataset_id) as book:
            return [sample_id for sample_id, clip in book.clips.items() if clip.note]

    def page(self, dataset_id: str, tag: str | None, after: str | None, limit: int) -> tuple[list[Annotation], bool]:
        """Returns a page of annotated clips by id, and whether more follow.

        Args:
            dataset_id: the dataset.
            tag: only clips with it.
            after: the last id of the page before.
            limit: rows of a page.
        """
        with self._book(dataset_id) as book:
            wanted = sorted(
                sample_id
                for sample_id, clip in book.clips.items()
                if (after is None or sample_id > after) and (tag is None or tag in clip.tags)
            )
            return [book.annotation(sample_id) for sample_id in wanted[:limit]], len(wanted) > limit

    def all(self, dataset_id: str) -> list[Annotation]:
        """Returns all annotated clips of a dataset, by id."""
        with self._book(dataset_id) as book:
            return [book.annotation(sample_id) for sample_id in sorted(book.clips)]

    def summary(self, dataset_id: str) -> AnnotationSummary:
        """Returns the tags of a dataset with their counts."""
        with self._book(dataset_id) as book:
            counts = Counter(tag for clip in book.clips.values() for tag in clip.tags)
            ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_TAGS]
            return AnnotationSummary(
                tags=[TagCount(tag=tag, num_samples=count) for tag, count in ordered],
                num_annotated=len(book.clips),
                num_noted=sum(1 for clip in book.clips.values() if clip.note),
            )

    def change(self, dataset_id: str, change: AnnotationChange) -> AnnotationsChanged:
        """Makes a change durable and returns what it came to.

        Raises:
            InvalidRequestError: code `too-many-tags`, when a clip would have more than 32.
        """
        with self._book(dataset_id) as book, _appending(book.path) as file:
            book.advance()  # what another process wrote before we had the lock
            _check_tags(book, change)
            changed = sum(1 for one in change.sample_ids if _differs(book.clips.get(one), change))
            if changed:
                file_bytes = change.model_dump_json().encode() + b"\n"
                _append(file, file_bytes)
                book.advance()
        return AnnotationsChanged(num_samples=len(change.sample_ids), num_changed=changed)

    def replace(
        self, dataset_id: str, sample_id: str, tags: Sequence[str], note: str, *, by: str, at: datetime
    ) -> Annotation:
        """Sets all that is said of one clip, and returns it; tags that stay keep who put them there.

        Raises:
            InvalidRequestError: code `too-many-tags`.
        """
        before = {one.tag for one in self.of(dataset_id, sample_id).tags}
        wanted = list(dict.fromkeys(tags))
        change = AnnotationChange(
            at=at,
            by=by,
            sample_ids=[sample_id],
            add_tags=[tag for tag in wanted if tag not in before],
            remove_tags=sorted(before - set(wanted)),
            note=note,
        )
        self.change(dataset_id, change)
        return self.of(dataset_id, sample_id)


def _differs(clip: _Clip | None, change: AnnotationChange) -> bool:
    tags, note = (clip.tags, clip.note) if clip else ({}, "")
    return (
        any(tag not in tags for tag in change.add_tags)
        or any(tag in tags for tag in change.remove_tags)
        or (change.note is not None and change.note != note)
    )


def _check_tags(book: _Book, change: AnnotationChange) -> None:
    for sample_id in change.sample_ids:
        tags = set(book.clips[sample_id].tags) if sample_id in book.clips else set()
        if len((tags | set(change.add_tags)) - set(change.remove_tags)) > MAX_TAGS:
            raise InvalidRequestError(
                f"A clip has at most {MAX_TAGS} tags; {sample_id!r} would have more. Remove some first.",
                code="too-many-tags",
            )


@contextmanager
def _appending(path: Path) -> Iterator[int]:
    """Yields the file, opened to append and locked, without what a crash left after its last whole line."""
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _cut_torn_line(descriptor)
        if is_new:
            sync_folder(path.parent)
        yield descriptor
    finally:
        os.close(descriptor)


def _cut_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    end = size
    while end and os.pread(descriptor, 1, end - 1) != b"\n":
        begin = max(0, end - 65_536)
        found = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        end = begin + found + 1 if found >= 0 else begin
    if end != size:
        os.ftruncate(descriptor, end)


def _append(descriptor: int, data: bytes) -> None:
    """Writes a line after the last one, on the disk; takes it back where it does not fit."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    try:
        written = os.pwrite(descriptor, data, end)
        if written != len(data):
            raise OSError(f"{written} of {len(data)} bytes were written; is the disk full?")
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, end)
        raise
