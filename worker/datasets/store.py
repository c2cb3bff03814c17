"""The prepared store: memory-mapped frames and sound of every usable clip, and a table that names them.

    frames.u8         (R, T, H, H, 3) uint8
    audio.f16|i16     (R, M, S) float16 or (R, L) int16
    samples.parquet   N rows, columns of `SAMPLE_SCHEMA`; `row` is the clip's place in the two files above
    skipped.jsonl     one SkippedClip a line
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
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.contract.errors import CorruptRecordError, NotFoundError
from worker.contract.resources import SkippedClip
from worker.contract.spec.preprocess import PreprocessSpec

STORE_FORMAT = 1
FRAMES_FILE = "frames.u8"
SAMPLES_FILE = "samples.parquet"
SKIPPED_FILE = "skipped.jsonl"
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
    ]
)
"""`start_s` is where the window begins in the clip; `notes` is JSON {name: text}, corruption truth and `decoding`.

`path` and `audio_path` are absolute, or relative to the dataset's folder (the store's parent) for clips made there.
"""


class StoreRecord(BaseModel):
    """store.json: what the store is and whether its files are whole."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = STORE_FORMAT
    kind: str = Field(description="Kind of the dataset.")
    spec_digest: str = Field(description="Of the dataset spec without protocol.")
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
        if record.get("format") != STORE_FORMAT:
            return None
        return StoreRecord.model_validate(record)
    except (OSError, ValueError, AttributeError, ValidationError):
        return None


class PreparedStore:
    """A complete store, open for reading. Opening reads store.json alone; columns are read when first asked for."""

    def __init__(self, path: Path, record: StoreRecord) -> None:
        """Maps the arrays; use `open`."""
        self.path = path
        self.record = record
        rows = record.num_rows
        frames = np.memmap(path / FRAMES_FILE, np.uint8, "r", shape=(rows, *record.frames_shape))
        audio_path = path / audio_file(record.audio_dtype)
        audio = np.memmap(audio_path, np.dtype(record.audio_dtype), "r", shape=(rows, *record.audio_shape))
        self._frames, self._audio = frames.view(np.ndarray), audio.view(np.ndarray)

    @classmethod
    def open(cls, path: Path, *, verify: bool = False) -> PreparedStore:
        """Returns the store in a folder.

        Args:
            path: the store's folder.
            verify: also read all files and compare their checksums.

        Raises:
            NotFoundError: there is no complete store (code store-not-found).
            CorruptRecordError: a file is missing, cut off, or, with `verify`, changed.
        """
        record = read_record(path)
        if record is None:
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
        return np.take(self._frames, rows, axis=0), np.take(self._audio, rows, axis=0)

    def column(self, name: str) -> pa.Array:
        """Returns one column of samples.parquet in store order, read now (a pyarrow array, not cached)."""
        column = pq.read_table(self.path / SAMPLES_FILE, columns=[name], memory_map=True).column(0)
        return column.combine_chunks()

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class index of each sample."""
        return np.asarray(self.column("label_index"), dtype=np.int64)

    @cached_property
    def sample_ids(self) -> list[str]:
        """N ids in store order."""
        ids: list[str] = self.column("sample_id").to_pylist()
        return ids

    @cached_property
    def groups(self) -> list[str | None]:
        """N groups (speaker, source video); None where a sample has none."""
        groups: list[str | None] = self.column("group").to_pylist()
        return groups

    @cached_property
    def _splits(self) -> NDArray[np.object_]:
        column = self.column("split")
        names = np.asarray(column.dictionary.to_pylist(), dtype=object)
        return names[np.asarray(column.indices)] if len(column) else np.zeros(0, object)

    def indices(self, split: str) -> NDArray[np.int64]:
        """Returns the positions of a split's samples, ascending: (n,) int64, empty if there is no such split."""
        return np.flatnonzero(self._splits == split)

    def splits(self) -> list[str]:
        """Returns the split of each sample: N names."""
        names: list[str] = self._splits.tolist()
        return names

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
