"""The last step of preparation: the table of samples, the skipped clips, checksums, and store.json."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worker.contract.errors import DatasetError
from worker.contract.layout import sync_folder, write_atomically
from worker.contract.quality import METRICS, by_name
from worker.contract.resources import SkippedClip
from worker.contract.spec.datasets import DatasetSpec
from worker.datasets.partial import Finished, Shapes
from worker.datasets.source import ClipEntry, DatasetListing, check_train_classes
from worker.datasets.store import (
    FRAMES_FILE,
    RECORD_FILE,
    SAMPLE_SCHEMA,
    SAMPLES_FILE,
    SKIPPED_FILE,
    StoreRecord,
    audio_file,
    sha256_of,
)

_ROW_GROUP = 8_192
"""Rows that are read together: a page of clips asks for a few rows from all over the table."""


@dataclass(frozen=True)
class Digests:
    """What a store was made of."""

    spec: str
    listing: str


def finish_store(
    path: Path,
    spec: DatasetSpec,
    digests: Digests,
    listing: DatasetListing,
    results: Mapping[int, Finished],
    shapes: Shapes,
) -> StoreRecord:
    """Completes the store in `path` and returns its record; can be repeated after a kill.

    Args:
        path: the partial store, all of its clips finished.
        spec: the dataset.
        digests: by which a later call knows the store; the listing's as it was when preparation began.
        listing: the clips.
        results: row -> what became of the clip, for every row.
        shapes: of the arrays.

    Raises:
        DatasetError: too few clips are left to train on.
    """
    usable = [row for row in range(len(listing.entries)) if not results[row].code]
    skipped = [*listing.skipped, *_skipped(listing.entries, results)]
    _check_usable(listing, usable, skipped)
    _write_samples(path / SAMPLES_FILE, listing, usable, results, path.parent)
    write_atomically(path / SKIPPED_FILE, b"".join(clip.model_dump_json().encode() + b"\n" for clip in skipped))
    names = (FRAMES_FILE, audio_file(shapes.audio_dtype), SAMPLES_FILE, SKIPPED_FILE)
    checksums = {name: _synced_sha256(path / name) for name in names}
    used = [listing.entries[row] for row in usable]
    record = StoreRecord(
        kind=spec.kind,
        spec_digest=digests.spec,
        listing_digest=digests.listing,
        digest=_content_digest(spec, listing.classes, used, [checksums[name] for name in names[:2]]),
        preprocess=spec.preprocess,
        classes=listing.classes,
        num_samples=len(usable),
        num_rows=shapes.num_rows,
        frames_shape=cast(tuple[int, int, int, int], shapes.frames),
        audio_shape=shapes.audio,
        audio_dtype=cast(Literal["float16", "int16"], np.dtype(shapes.audio_dtype).name),
        splits=dict(Counter(entry.split for entry in used)),
        class_counts=_class_counts(used),
        num_skipped=len(skipped),
        skipped=tuple(skipped[:100]),
        warnings=listing.warnings,
        checksums=checksums,
        created_by=f"gapscope {_version()}",
    )
    write_atomically(path / RECORD_FILE, record.model_dump_json(indent=1).encode())
    return record


def _check_usable(listing: DatasetListing, usable: Sequence[int], skipped: Sequence[SkippedClip]) -> None:
    entries = listing.entries
    try:
        check_train_classes(listing.classes, Counter(entries[r].label for r in usable if entries[r].split == "train"))
    except DatasetError as error:
        if not skipped:
            raise
        raise DatasetError(
            f"{error.detail} {len(skipped)} clips were skipped; the first, {skipped[0].path}: {skipped[0].reason}",
            code=error.code,
        ) from None


def _skipped(entries: Sequence[ClipEntry], results: Mapping[int, Finished]) -> Iterator[SkippedClip]:
    for row, entry in enumerate(entries):
        if code := results[row].code:
            yield SkippedClip(sample_id=entry.sample_id, path=str(entry.path), code=code, reason=results[row].reason)


def _write_samples(
    path: Path, listing: DatasetListing, usable: Sequence[int], results: Mapping[int, Finished], home: Path
) -> None:
    index_of = {name: index for index, name in enumerate(listing.classes)}
    with pq.ParquetWriter(path, SAMPLE_SCHEMA, compression="zstd") as writer:
        for begin in range(0, len(usable), _ROW_GROUP):
            rows = usable[begin : begin + _ROW_GROUP]
            writer.write_table(_table([(listing.entries[row], results[row]) for row in rows], index_of, home))


def _table(clips: Sequence[tuple[ClipEntry, Finished]], index_of: Mapping[str, int], home: Path) -> pa.Table:
    columns: dict[str, list[object]] = {
        "sample_id": [entry.sample_id for entry, _ in clips],
        "label": [entry.label for entry, _ in clips],
        "label_index": [index_of[entry.label] for entry, _ in clips],
        "split": [entry.split for entry, _ in clips],
        "group": [entry.group for entry, _ in clips],
        "row": [result.row for _, result in clips],
        "path": [_place(entry.path, home) for entry, _ in clips],
        "audio_path": [_place(entry.audio_path, home) if entry.audio_path else None for entry, _ in clips],
        "has_audio": [True] * len(clips),
        "has_visual": [True] * len(clips),
        "notes": [_notes(entry, result) for entry, result in clips],
    }
    measured = [by_name(result.quality) for _, result in clips]
    columns |= {metric.name: [quality[metric.name] for quality in measured] for metric in METRICS}
    for name in (
        "duration_s",
        "start_s",
        "padded",
        "width",
        "height",
        "frames_per_s",
        "sample_rate_hz",
        "content_hash",
    ):
        columns[name] = [getattr(result, name) for _, result in clips]
    arrays = []
    for item in SAMPLE_SCHEMA:
        values = columns[item.name]
        if pa.types.is_dictionary(item.type):
            arrays.append(pa.array(values, item.type.value_type).dictionary_encode().cast(item.type))
        else:
            arrays.append(pa.array(values, item.type))
    return pa.Table.from_arrays(arrays, schema=SAMPLE_SCHEMA)


def _place(path: Path, home: Path) -> str:
    """Returns where a file lies: relative to the dataset's folder if inside, so that a home can be moved."""
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path)


def _notes(entry: ClipEntry, result: Finished) -> str:
    notes = {**entry.notes, **({"decoding": result.decoding} if result.decoding else {})}
    return json.dumps(notes, sort_keys=True, ensure_ascii=False)


def _class_counts(used: Sequence[ClipEntry]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for entry in used:
        split = counts.setdefault(entry.split, {})
        split[entry.label] = split.get(entry.label, 0) + 1
    return counts


def _content_digest(
    spec: DatasetSpec, classes: Sequence[str], used: Sequence[ClipEntry], checksums: Sequence[str]
) -> str:
    """Returns a digest of what training sees: tensors, labels and splits, not of where files lie or what notes say."""
    digest = hashlib.sha256(json.dumps([spec.preprocess.canonical_json(), list(classes), list(checksums)]).encode())
    for entry in used:
        digest.update(repr((entry.sample_id, entry.label, entry.split, entry.group)).encode())
    return digest.hexdigest()[:16]


def _synced_sha256(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)
    return sha256_of(path)


def _version() -> str:
    try:
        return version("gapscope")
    except PackageNotFoundError:
        return "of this folder"
