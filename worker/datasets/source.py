"""What a dataset says of its clips, before any of them is decoded."""

from __future__ import annotations

import hashlib
import importlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from worker.contract.errors import DatasetError
from worker.contract.resources import SkippedClip
from worker.contract.spec.datasets import DatasetSpec

SPLITS = ("train", "validation", "test")
MAX_CLASSES = 10_000


@dataclass(frozen=True, slots=True)
class ClipEntry:
    """One clip of a dataset: where it lies and what it shows."""

    sample_id: str
    path: Path
    label: str
    split: str
    audio_path: Path | None = None
    group: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    notes: dict[str, str] = field(default_factory=dict)
    maker: str | None = None
    """`package.module:function`, called as function(path, recipe) by preparation when the file is missing."""
    recipe: str = ""


@dataclass(frozen=True)
class DatasetListing:
    """All clips of a dataset, in the order of the store."""

    classes: tuple[str, ...]
    entries: Sequence[ClipEntry]
    skipped: Sequence[SkippedClip] = ()
    """Files that cannot be clips (missing, no video), found without decoding."""
    warnings: tuple[str, ...] = ()
    """What the user should know, such as that there is no test split."""

    def digest(self) -> str:
        """Returns 16 hexadecimal digits that change when a clip, its label, its split or its file changes."""
        digest = hashlib.sha256("\0".join(self.classes).encode())
        for entry in self.entries:
            # A clip that is made is what its recipe says, wherever it lies.
            files = (entry.path, entry.audio_path) if entry.maker is None else ()
            names = (entry.sample_id, files, entry.label, entry.split, entry.group)
            rest = (entry.start_s, entry.end_s, sorted(entry.notes.items()), entry.recipe, _stamps(entry))
            digest.update(repr((names, rest)).encode())
        return digest.hexdigest()[:16]


class DatasetSource(Protocol):
    """A dataset: made from its spec, lists its clips."""

    def list(self, clips_folder: Path) -> DatasetListing:
        """Returns the clips.

        Args:
            clips_folder: where a dataset that makes its clips keeps them.

        Raises:
            DatasetError: when the dataset cannot be used at all; a single bad clip is listed as skipped instead.
        """


def load_source(spec: DatasetSpec) -> DatasetSource:
    """Returns the dataset that implements a spec."""
    module, _, name = spec.implementation.partition(":")
    return cast(DatasetSource, getattr(importlib.import_module(module), name)(spec))


def check_listing(listing: DatasetListing) -> None:
    """Refuses a dataset that nothing could be trained on, before work goes into it.

    Raises:
        DatasetError: dataset-empty, dataset-duplicate-ids, dataset-no-train, dataset-one-class,
            dataset-too-many-classes, dataset-class-not-in-train.
    """
    if not listing.entries:
        reason = f" The first of {len(listing.skipped)}: {listing.skipped[0].reason}" if listing.skipped else ""
        raise DatasetError(f"The dataset holds no clip that can be used.{reason}", code="dataset-empty")
    repeated = [name for name, count in Counter(entry.sample_id for entry in listing.entries).items() if count > 1]
    if repeated:
        raise DatasetError(
            f"Every clip needs an id of its own; {len(repeated)} come twice: {', '.join(repeated[:5])}.",
            code="dataset-duplicate-ids",
        )
    splits = {entry.split for entry in listing.entries}
    if unknown := splits - set(SPLITS):
        raise DatasetError(f"Expected the splits {', '.join(SPLITS)}; got {sorted(unknown)}.", code="dataset-bad-split")
    if len(listing.classes) > MAX_CLASSES:
        raise DatasetError(
            f"At most {MAX_CLASSES:,} classes, got {len(listing.classes):,}. Is the label column a file name?",
            code="dataset-too-many-classes",
        )
    if len(listing.classes) < 2:
        raise DatasetError(
            f"At least two classes are needed to train a classifier; all clips are {listing.classes[0]!r}.",
            code="dataset-one-class",
        )
    check_train_classes(listing.classes, Counter(e.label for e in listing.entries if e.split == "train"))


def check_train_classes(classes: Sequence[str], train_counts: Counter[str]) -> None:
    """Refuses a training split that is empty or lacks a class.

    Raises:
        DatasetError: dataset-no-train, dataset-class-not-in-train.
    """
    if not train_counts:
        raise DatasetError(
            "There is no training clip. Mark some clips with the split 'train'.", code="dataset-no-train"
        )
    missing = [name for name in classes if not train_counts[name]]
    if missing:
        raise DatasetError(
            f"Every class needs a training clip that can be used; none for {', '.join(map(repr, missing[:5]))}"
            f"{' and others' if len(missing) > 5 else ''}. Add clips, or take these classes out.",
            code="dataset-class-not-in-train",
        )


def _stamps(entry: ClipEntry) -> list[tuple[int, int]]:
    """Returns (size, time of change) of the clip's files: another file under the same name is another clip."""
    if entry.maker is not None:
        return []
    stamps = []
    for path in (entry.path, entry.audio_path):
        if path is not None:
            try:
                status = path.stat()
            except OSError:
                stamps.append((-1, -1))
                continue
            stamps.append((status.st_size, status.st_mtime_ns))
    return stamps
