"""Prepared datasets, read: the store's record, its table of clips, the files behind a clip.

The store is written by worker.datasets.store; its docstring says what lies where. Nothing here reads its arrays.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from backend.archive import read_json
from backend.paging import Cursor
from backend.tables import Tables, Where
from worker.contract.errors import CorruptRecordError, NotFoundError
from worker.contract.layout import Home
from worker.contract.resources import DatasetSample, SkippedClip

RECORD_FILE = "store.json"
SAMPLES_FILE = "samples.parquet"
SKIPPED_FILE = "skipped.jsonl"
FRAMES_FILE = "frames.u8"
AUDIO_FILES = ("audio.f16", "audio.i16")
AUDIO_VALUE_BYTES = 2
QUALITY_COLUMNS = ("duration_s", "start_s", "width", "height", "frames_per_s", "sample_rate_hz", "padded")
"""Columns of the table of clips that say how good a clip is, as numbers."""
_LIGHT_COLUMNS = ", ".join(("file_row_number", "sample_id", "label", "split", "notes", *QUALITY_COLUMNS))


class StoreFacts(BaseModel):
    """What the API shows of store.json."""

    model_config = ConfigDict(extra="ignore", frozen=True)

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


@lru_cache(maxsize=64)
def _facts(path: Path, stamp: int) -> StoreFacts:
    try:
        return StoreFacts.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]["msg"]
        raise CorruptRecordError(f"{path} cannot be read: {first}. Prepare the dataset anew.") from None


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

    def require(self, dataset_id: str) -> Path:
        """Returns the table of clips of a prepared dataset.

        Raises:
            NotFoundError: code `store-not-found`, when the dataset is not prepared.
        """
        if self.facts(dataset_id) is None:
            raise NotFoundError(f"The dataset {dataset_id} is not prepared yet.", code="store-not-found")
        return self._home.dataset(dataset_id).store / SAMPLES_FILE

    def page(
        self, dataset_id: str, split: str | None, label: str | None, after: Cursor | None, limit: int
    ) -> tuple[list[ClipRow], Cursor | None]:
        """Returns one page of a dataset's clips in the store's order, and the cursor of the next one."""
        table, where = self.require(dataset_id), Where()
        if split is not None:
            where = where.add("split = ?", split)
        if label is not None:
            where = where.add("label = ?", label)
        if after is not None and isinstance(after.key, int):
            where = where.add("file_row_number > ?", after.key)
        rows = self._rows(table, where, limit + 1)
        page = rows[:limit]
        return page, Cursor(page[-1].index, page[-1].sample.sample_id) if len(rows) > limit else None

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
        rows = self._rows(self.require(dataset_id), Where().add("sample_id = ?", sample_id), 1)
        return rows[0] if rows else None

    def clips(self, dataset_id: str, sample_ids: list[str]) -> dict[str, ClipRow]:
        """Returns those of some clips that a prepared dataset has, without their files; nothing before it is ready."""
        if not sample_ids or self.facts(dataset_id) is None:
            return {}
        marks = ", ".join("?" * len(sample_ids))
        where = Where().add(f"sample_id IN ({marks})", *sample_ids)
        rows = self._rows(self.require(dataset_id), where, len(sample_ids), _LIGHT_COLUMNS)
        return {row.sample.sample_id: row for row in rows}

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

    def _rows(self, table: Path, where: Where, limit: int, columns: str = "*") -> list[ClipRow]:
        sql = (
            f"SELECT {columns} FROM read_parquet(?, file_row_number = true) WHERE {where.sql} "
            f"ORDER BY file_row_number LIMIT {limit:d}"
        )
        folder = table.parents[1]  # made clips lie in the dataset's folder, and their paths are relative to it
        return [_clip(row, folder) for row in self._tables.rows(sql, (str(table), *where.parameters))]


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
        ),
        quality=quality,
        video=_file(folder, row.get("path")),
        audio=_file(folder, row.get("audio_path")),
    )


def _file(folder: Path, path: str | None) -> Path | None:
    return folder / path if path else None


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None
