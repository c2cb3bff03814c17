"""Prepared datasets, read: the store's record, its table of clips, the files behind a clip.

The store is written by worker.datasets.store; its docstring says what lies where. Nothing here reads its arrays.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from backend.archive import read_json
from backend.paging import Cursor
from backend.parquet_rows import row_at, rows_at
from backend.quality import dataset_quality
from backend.sample_index import rows_of
from backend.tables import Source, Tables, Where
from worker.contract.errors import CorruptRecordError, NotFoundError
from worker.contract.layout import Home
from worker.contract.quality import METRICS
from worker.contract.resources import DatasetQuality, DatasetSample, SkippedClip
from worker.contract.sources import have_changed

RECORD_FILE = "store.json"
SAMPLES_FILE = "samples.parquet"
SKIPPED_FILE = "skipped.jsonl"
SOURCES_FILE = "sources.json"
SUMMARY_FILE = "quality.json"
EXPORT_BATCH = 10_000
CHANGE_CHECK_S = 5.0
FRAMES_FILE = "frames.u8"
AUDIO_FILES = ("audio.f16", "audio.i16")
AUDIO_VALUE_BYTES = 2
MOST_NOTES, MOST_VALUES = 10_000, 20
"""Different notes that are counted, and values of a note that are told."""
MEASURED_SINCE_FORMAT = 2
"""Stores of an older format have no measures of quality: they read as null."""
_METRICS = tuple(metric.name for metric in METRICS)
_FACT_COLUMNS = ("duration_s", "start_s", "width", "height", "frames_per_s", "sample_rate_hz", "padded")
QUALITY_COLUMNS = (*_FACT_COLUMNS, *_METRICS)
"""Columns of the table of clips that say how good a clip is, as numbers."""


class StoreFacts(BaseModel):
    """What the API shows of store.json."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = 1
    digest: str
    classes: tuple[str, ...]
    num_samples: int
    num_rows: int = 0
    frames_shape: tuple[int, ...] = ()
    audio_shape: tuple[int, ...] = ()
    splits: dict[str, int]
    class_counts: dict[str, dict[str, int]]
    num_skipped: int
    skipped: tuple[SkippedClip, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClipRow:
    """One clip of a prepared dataset, and its place in the store's order."""

    index: int
    sample: DatasetSample
    quality: dict[str, float | None]
    video: Path | None
    audio: Path | None
    row: int
    """Its place in the store's arrays."""
    has_audio: bool
    has_visual: bool


@lru_cache(maxsize=64)
def _facts(path: Path, stamp: int) -> StoreFacts:
    try:
        return StoreFacts.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]["msg"]
        raise CorruptRecordError(f"{path} cannot be read: {first}. Prepare the dataset anew.") from None


@lru_cache(maxsize=64)
def _codes(path: Path, stamp: int) -> tuple[tuple[str, int], ...]:
    with path.open("rb") as file:
        return tuple(Counter(str(json.loads(line)["code"]) for line in file).most_common())


@lru_cache(maxsize=16)
def _note_counts(tables: Tables, clips: Path, stamp: int) -> dict[str, dict[str, int]]:
    del stamp  # part of the cache's key
    sql = "SELECT notes, count(*) AS n FROM read_parquet(?) WHERE notes <> '{}' GROUP BY notes ORDER BY n DESC LIMIT ?"
    counts: dict[str, Counter[str]] = {}
    for row in tables.rows(sql, (str(clips), MOST_NOTES)):
        for name, value in json.loads(row["notes"]).items():
            counts.setdefault(str(name), Counter())[str(value)] += row["n"]
    return {name: dict(values.most_common(MOST_VALUES)) for name, values in sorted(counts.items())}


@lru_cache(maxsize=256)
def _changed(path: Path, moment: int) -> bool:
    del moment  # part of the cache's key
    return bool(have_changed(path))


def _size(path: Path) -> int:
    """Returns the size of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class Stores:
    """The prepared stores of one home."""

    def __init__(self, home: Home, tables: Tables) -> None:
        self._home = home
        self._tables = tables

    def facts(self, dataset_id: str) -> StoreFacts | None:
        """Returns what a complete store says of itself, or None while there is none."""
        path = self._home.dataset(dataset_id).store / RECORD_FILE
        try:
            return _facts(path, path.stat().st_mtime_ns)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_measured(self, dataset_id: str) -> bool:
        """Returns whether a prepared dataset has measures of quality."""
        facts = self.facts(dataset_id)
        return facts is not None and facts.format >= MEASURED_SINCE_FORMAT

    def with_quality(self, table: Path, dataset_id: str) -> Source:
        """Returns a run's sample table joined with the measures of its clips, all null where there are none.

        Beside the measures it has `file_row_number`, the place of a row in the sample table.
        """
        if self.is_measured(dataset_id):
            clips = f"SELECT sample_id, {', '.join(_METRICS)} FROM read_parquet(?)"
            parameters: tuple[str, ...] = (str(table), str(self.require(dataset_id)))
        else:
            nulls = ", ".join(f"NULL::FLOAT AS {name}" for name in _METRICS)
            clips, parameters = f"SELECT NULL::VARCHAR AS sample_id, {nulls} WHERE false", (str(table),)
        joined = f"read_parquet(?, file_row_number = true) LEFT JOIN ({clips}) USING (sample_id)"
        return Source(f"(SELECT * FROM {joined})", parameters)

    def quality(self, dataset_id: str) -> DatasetQuality | None:
        """Returns what was measured of a dataset's clips; None before it is prepared and for an older store."""
        if not self.is_measured(dataset_id):
            return None
        path = self.require(dataset_id)
        kept = self._home.dataset(dataset_id).path / SUMMARY_FILE
        return dataset_quality(self._tables, path, path.stat().st_mtime_ns, kept)

    def left_out(self, dataset_id: str) -> dict[str, int]:
        """Returns how many clips of a prepared dataset were left out for which code, the most frequent first."""
        path = self._home.dataset(dataset_id).store / SKIPPED_FILE
        try:
            return dict(_codes(path, path.stat().st_mtime_ns))
        except FileNotFoundError:
            return {}

    def is_whole(self, dataset_id: str) -> bool:
        """Returns whether a store is there and none of its files is missing or cut off."""
        try:
            facts = self.facts(dataset_id)
        except CorruptRecordError:
            return False
        if facts is None:
            return False
        folder = self._home.dataset(dataset_id).store
        frames, audio = (facts.num_rows * math.prod(shape) for shape in (facts.frames_shape, facts.audio_shape))
        return (
            (folder / SAMPLES_FILE).is_file()
            and _size(folder / FRAMES_FILE) >= frames
            and max(_size(folder / name) for name in AUDIO_FILES) >= audio * AUDIO_VALUE_BYTES
        )

    def have_changed(self, dataset_id: str) -> bool:
        """Returns whether the files behind a prepared dataset changed since; asked of the disk every few seconds."""
        path = self._home.dataset(dataset_id).store / SOURCES_FILE
        return _changed(path, int(time.monotonic() / CHANGE_CHECK_S))

    def is_shared(self, dataset_id: str) -> bool:
        """Returns whether another dataset has the same store."""
        try:
            return (self._home.dataset(dataset_id).store / FRAMES_FILE).stat().st_nlink > 1
        except OSError:
            return False

    def require(self, dataset_id: str) -> Path:
        """Returns the table of clips of a prepared dataset.

        Raises:
            NotFoundError: code `dataset-not-found`, when there is no such dataset; `store-not-found`, when it is not
                prepared.
        """
        if self.facts(dataset_id) is None:
            if not self._home.dataset(dataset_id).spec.exists():
                raise NotFoundError(f"There is no dataset with the id {dataset_id!r}.", code="dataset-not-found")
            raise NotFoundError(f"The dataset {dataset_id} is not prepared yet.", code="store-not-found")
        return self._home.dataset(dataset_id).store / SAMPLES_FILE

    def page(
        self, dataset_id: str, where: Where, after: Cursor | None, limit: int
    ) -> tuple[list[ClipRow], Cursor | None]:
        """Returns one page of a dataset's clips in the store's order, and the cursor of the next one."""
        table = self.require(dataset_id)
        if after is not None and isinstance(after.key, int):
            where = where.add("file_row_number > ?", after.key)
        rows = self._rows(table, where, limit + 1)
        page = rows[:limit]
        return page, Cursor(page[-1].index, page[-1].sample.sample_id) if len(rows) > limit else None

    def batches(self, dataset_id: str, where: Where) -> Iterator[pa.RecordBatch]:
        """Returns a dataset's clips with their measures, as tables, in the store's order."""
        sql = f"SELECT * FROM read_parquet(?) WHERE {where.sql}"
        return self._tables.record_batches(sql, (str(self.require(dataset_id)), *where.parameters))

    def skipped_batches(self, dataset_id: str) -> Iterator[pa.RecordBatch]:
        """Yields the skipped clips as tables, at least one."""
        place: int | None = 0
        while place is not None:
            clips, place = self.skipped(dataset_id, place, EXPORT_BATCH)
            names = tuple(SkippedClip.model_fields)
            yield pa.RecordBatch.from_pydict({name: [str(getattr(clip, name)) for clip in clips] for name in names})

    def clip(self, dataset_id: str, sample_id: str) -> ClipRow:
        """Returns one clip.

        Raises:
            NotFoundError: when the dataset is not prepared or has no such clip.
        """
        self.require(dataset_id)
        clip = self.find(dataset_id, sample_id)
        if clip is None:
            raise NotFoundError(f"The dataset {dataset_id} has no sample {sample_id!r}.", code="sample-not-found")
        return clip

    def find(self, dataset_id: str, sample_id: str) -> ClipRow | None:
        """Returns one clip, or None where the dataset is not prepared or has no such clip."""
        if self.facts(dataset_id) is None:
            return None
        table = self.require(dataset_id)
        for place in rows_of(self._tables, table, [sample_id]):
            row = row_at(table, place)
            if row is not None and row["sample_id"] == sample_id:
                return _clip({**row, "file_row_number": place}, table.parents[1])
        return None

    def clips(self, dataset_id: str, sample_ids: list[str]) -> dict[str, ClipRow]:
        """Returns those of some clips that a prepared dataset has, without their files; nothing before it is ready."""
        if not sample_ids or self.facts(dataset_id) is None:
            return {}
        table, wanted = self.require(dataset_id), set(sample_ids)
        places = rows_of(self._tables, table, sample_ids)
        tracks = ("row", "has_audio", "has_visual")
        columns = ("sample_id", "label", "split", "notes", *tracks, *_FACT_COLUMNS)
        clips = _clips(table, places, (*columns, *(_METRICS if self.is_measured(dataset_id) else ())))
        return {clip.sample.sample_id: clip for clip in clips if clip.sample.sample_id in wanted}

    def known(self, dataset_id: str, sample_ids: list[str]) -> set[str]:
        """Returns those of some ids that are clips of a prepared dataset."""
        table = self.require(dataset_id)
        rows = rows_at(table, rows_of(self._tables, table, sample_ids), ("sample_id",))
        return {row["sample_id"] for row in rows} & set(sample_ids)

    def notes(self, dataset_id: str) -> dict[str, dict[str, int]]:
        """Returns the notes that the dataset itself has on its clips: name -> value -> clips, the most frequent."""
        table = self.require(dataset_id)
        return _note_counts(self._tables, table, table.stat().st_mtime_ns)

    def skipped(self, dataset_id: str, after: int, limit: int) -> tuple[list[SkippedClip], int | None]:
        """Returns skipped clips from a place on, and the place where the next page begins or None at the end."""
        path = self.require(dataset_id).with_name(SKIPPED_FILE)
        page: list[SkippedClip] = []
        with path.open("rb") as file:
            for place, line in enumerate(file):
                if place >= after + limit:
                    return page, place
                if place >= after:
                    page.append(SkippedClip.model_validate_json(line))
        return page, None

    def _rows(self, table: Path, where: Where, limit: int) -> list[ClipRow]:
        sql = (
            f"SELECT * FROM read_parquet(?, file_row_number = true) WHERE {where.sql} "
            f"ORDER BY file_row_number LIMIT {limit:d}"
        )
        folder = table.parents[1]  # made clips lie in the dataset's folder, and their paths are relative to it
        return [_clip(row, folder) for row in self._tables.rows(sql, (str(table), *where.parameters))]


def _clips(table: Path, places: list[int], columns: tuple[str, ...] | None = None) -> list[ClipRow]:
    rows = rows_at(table, places, columns)
    return [_clip(row | {"file_row_number": at}, table.parents[1]) for at, row in zip(places, rows, strict=True)]


def _clip(row: dict[str, Any], folder: Path) -> ClipRow:
    quality = {name: _number(row.get(name)) for name in QUALITY_COLUMNS}
    return ClipRow(
        index=row["file_row_number"],
        sample=DatasetSample(
            sample_id=row["sample_id"],
            label=row["label"],
            split=row["split"],
            duration_s=quality["duration_s"],
            notes={str(name): str(value) for name, value in json.loads(row["notes"] or "{}").items()},
            quality=quality,
        ),
        quality=quality,
        video=_file(folder, row.get("path")),
        audio=_file(folder, row.get("audio_path")),
        row=row["row"],
        has_audio=row["has_audio"],
        has_visual=row["has_visual"],
    )


def _file(folder: Path, path: str | None) -> Path | None:
    return folder / path if path else None


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None
