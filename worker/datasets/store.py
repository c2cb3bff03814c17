"""The prepared store: frames and sound of every usable clip, row by row, and a table that names them.

    frames.u8         (R, T, H, H, 3) uint8
    audio.f16|i16     (R, M, S) float16 or (R, L) int16
    samples.parquet   N rows, columns of `SAMPLE_SCHEMA`; `row` is the clip's place in the two files above
    skipped.jsonl     one SkippedClip a line
    sources.json      stamps of the files behind it (see worker.contract.sources)
    store.json        StoreRecord: written last, so a store with it is complete

R >= N: the places of skipped clips stay holes (sparse files), so that parallel preparation needs no compaction.
N samples, B batch, T frames, H side of the frames, M mel bins, S time steps, L samples of the waveform.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.contract.errors import CorruptRecordError, NotFoundError
from worker.contract.layout import require_format
from worker.contract.quality import METRICS
from worker.contract.resources import SkippedClip
from worker.contract.spec.preprocess import PreprocessSpec
from worker.datasets.rows import RowFile
from worker.datasets.texts import Texts

STORE_FORMAT = 2
READABLE_FORMATS = (1, 2)
"""A store of format 1 opens too: it lacks the columns of quality, which the API shows as null."""
FRAMES_FILE = "frames.u8"
SAMPLES_FILE = "samples.parquet"
SKIPPED_FILE = "skipped.jsonl"
SOURCES_FILE = "sources.json"
RECORD_FILE = "store.json"
_CHUNK_BYTES = 8 * 1024 * 1024

SAMPLE_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("label", pa.dictionary(pa.int32(), pa.string())),
        ("label_index", pa.int32()),
        ("split", pa.dictionary(pa.int8(), pa.string())),
        ("group", pa.string()),
        ("row", pa.int64()),
        ("path", pa.string()),
        ("audio_path", pa.string()),
        ("has_audio", pa.bool_()),
        ("has_visual", pa.bool_()),
        ("duration_s", pa.float32()),
        ("start_s", pa.float32()),
        ("padded", pa.bool_()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("frames_per_s", pa.float32()),
        ("sample_rate_hz", pa.int32()),
        ("notes", pa.string()),
        *((metric.name, pa.float32()) for metric in METRICS),
        ("content_hash", pa.string()),
    ]
)
"""`start_s` is where the window begins in the clip; `notes` is JSON {name: text}, corruption truth and `decoding`.
The metrics and `content_hash` are those of worker.contract.quality.

`path` and `audio_path` are absolute, or relative to the dataset's folder (the store's parent) for clips made there.
"""


class StoreRecord(BaseModel):
    """store.json: what the store is and whether its files are whole."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = STORE_FORMAT
    kind: str = Field(description="Kind of the dataset.")
    spec_digest: str = Field(description="DatasetSpec.identity() of the dataset.")
    listing_digest: str = Field(description="Of the clips that were listed.")
    digest: str = Field(description="Of the content: other data, other digest.")
    preprocess: PreprocessSpec
    classes: tuple[str, ...]
    num_samples: int
    num_rows: int
    frames_shape: tuple[int, int, int, int]
    audio_shape: tuple[int, ...]
    audio_dtype: Literal["float16", "int16"]
    splits: dict[str, int]
    class_counts: dict[str, dict[str, int]]
    num_skipped: int
    skipped: tuple[SkippedClip, ...] = Field(description="The first 100; all are in skipped.jsonl.")
    warnings: tuple[str, ...] = ()
    checksums: dict[str, str] = Field(description="File name -> SHA-256.")
    created_by: str


def audio_file(dtype: np.dtype[np.generic] | str) -> str:
    """Returns the name of the sound file for its type."""
    return "audio.i16" if np.dtype(dtype) == np.int16 else "audio.f16"


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal, reading it in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def read_record(path: Path) -> StoreRecord | None:
    """Returns store.json of a store folder, or None if there is no complete store of a format that we know."""
    try:
        record = json.loads((path / RECORD_FILE).read_bytes())
        if record.get("format") not in READABLE_FORMATS:
            return None
        return StoreRecord.model_validate(record)
    except (OSError, ValueError, AttributeError, ValidationError):
        return None


def _refuse_later_format(path: Path) -> None:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return  # there is none, or none that anyone could read
    require_format(path, document, STORE_FORMAT)


class PreparedStore:
    """A complete store, open for reading. Opening reads store.json alone; columns are read when first asked for."""

    def __init__(self, path: Path, record: StoreRecord) -> None:
        """Opens the arrays; use `open`."""
        self.path = path
        self.record = record
        rows = record.num_rows
        audio_dtype = np.dtype(record.audio_dtype)
        self._frames = RowFile(path / FRAMES_FILE, rows, record.frames_shape, np.dtype(np.uint8))
        self._audio = RowFile(path / audio_file(audio_dtype), rows, record.audio_shape, audio_dtype)

    @classmethod
    def open(cls, path: Path, *, verify: bool = False) -> PreparedStore:
        """Returns the store in a folder.

        Args:
            path: the store's folder.
            verify: also read all files and compare their checksums.

        Raises:
            NotFoundError: there is no complete store (code store-not-found).
            CorruptRecordError: a file is missing, cut off, or, with `verify`, changed; or a later version wrote it.
        """
        record = read_record(path)
        if record is None:
            _refuse_later_format(path / RECORD_FILE)
            raise NotFoundError(f"There is no complete store in {path}. Prepare the dataset.", code="store-not-found")
        try:
            store = cls(path, record)
        except (OSError, ValueError) as error:
            raise CorruptRecordError(f"The store in {path} is damaged ({error}). Prepare it anew.") from error
        if verify:
            store.verify()
        return store

    def verify(self) -> None:
        """Compares all files with their checksums.

        Raises:
            CorruptRecordError: naming the first file that differs.
        """
        for name, expected in self.record.checksums.items():
            got = sha256_of(self.path / name)
            if got != expected:
                raise CorruptRecordError(
                    f"{self.path / name} is damaged: expected SHA-256 {expected[:12]}..., got {got[:12]}... "
                    "Prepare the dataset anew."
                )

    def __len__(self) -> int:
        return self.record.num_samples

    @property
    def spec(self) -> PreprocessSpec:
        """The preprocessing that made the store."""
        return self.record.preprocess

    @property
    def digest(self) -> str:
        """Digest of the content: other data, other digest."""
        return self.record.digest

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; `labels` are indices into them."""
        return self.record.classes

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.generic]]:
        """Returns frames and sound of some samples, copied into contiguous arrays.

        Args:
            indices: (B,) positions in the store, 0 <= i < N.

        Returns:
            (B, T, H, H, 3) uint8 and (B, *audio_shape) float16 or int16, as stored (see Preprocessor).
        """
        rows = self._rows[np.asarray(indices, np.int64)]
        return cast("NDArray[np.uint8]", self._frames.take(rows)), self._audio.take(rows)

    def column(self, name: str) -> pa.Array:
        """Returns one column of samples.parquet in store order, read now (a pyarrow array, not cached)."""
        column = pq.read_table(self.path / SAMPLES_FILE, columns=[name], memory_map=True).column(0)
        return column.combine_chunks()

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class index of each sample."""
        return np.asarray(self.column("label_index"), dtype=np.int64)

    @cached_property
    def sample_ids(self) -> Texts:
        """N ids in store order."""
        return Texts(self.column("sample_id"))

    @cached_property
    def groups(self) -> list[str | None]:
        """N groups (speaker, source video); None where a sample has none."""
        groups: list[str | None] = self.column("group").to_pylist()
        return groups

    @cached_property
    def _splits(self) -> tuple[list[str], NDArray[np.int8]]:
        """The names of splits, and for each sample the place of its own among them."""
        column = self.column("split")
        return column.dictionary.to_pylist(), np.asarray(column.indices, dtype=np.int8)

    def indices(self, split: str) -> NDArray[np.int64]:
        """Returns the positions of a split's samples, ascending: (n,) int64, empty if there is no such split."""
        names, places = self._splits
        return np.flatnonzero(places == (names.index(split) if split in names else -1))

    def splits(self) -> list[str]:
        """Returns the split of each sample: N names."""
        names, places = self._splits
        split_of: list[str] = np.asarray(names, dtype=object)[places].tolist() if len(places) else []
        return split_of

    def notes(self, index: int) -> Mapping[str, str]:
        """Returns the notes of one sample: the user's columns, corruption truth, remarks of the decoder."""
        notes: dict[str, str] = json.loads(self._notes[index].as_py())
        return notes

    def clip_paths(self, index: int) -> tuple[Path, Path | None]:
        """Returns where one sample's video and, if it is a file of its own, its sound lie."""
        video, audio = self._paths[0][index].as_py(), self._paths[1][index].as_py()
        return self.path.parent / video, self.path.parent / audio if audio else None

    @cached_property
    def _paths(self) -> tuple[pa.Array, pa.Array]:
        return self.column("path"), self.column("audio_path")

    @cached_property
    def _notes(self) -> pa.Array:
        return self.column("notes")

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        return np.asarray(self.column("row"), dtype=np.int64)

    def skipped(self) -> list[SkippedClip]:
        """Returns all clips that preparation left out, with code and reason."""
        with (self.path / SKIPPED_FILE).open("rb") as file:
            return [SkippedClip.model_validate_json(line) for line in file]
