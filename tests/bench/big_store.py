"""A store of any number of clips without any data in it: sparse arrays, and a full table of samples and measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worker.contract.quality import METRICS
from worker.contract.spec.preprocess import PreprocessSpec
from worker.datasets.store import SAMPLE_SCHEMA, STORE_FORMAT, PreparedStore, StoreRecord

CLASSES = tuple(f"class-{index:02d}" for index in range(10))
SPLITS = ("train", "train", "train", "validation", "test")


def big_store(folder: Path, number: int, spec: PreprocessSpec) -> PreparedStore:
    """Returns a store of `number` clips, all of them zeros, in a folder that is made."""
    folder.mkdir(parents=True)
    frames_shape = (spec.num_frames, spec.frame_size, spec.frame_size, 3)
    record = StoreRecord(
        format=STORE_FORMAT,
        kind="folder",
        spec_digest="0" * 12,
        listing_digest="0" * 16,
        digest="0" * 16,
        preprocess=spec,
        classes=CLASSES,
        num_samples=number,
        num_rows=number,
        frames_shape=frames_shape,
        audio_shape=spec.stored_audio_shape,
        audio_dtype="int16" if spec.audio_storage == "waveform" else "float16",
        splits={split: _count(number, split) for split in dict.fromkeys(SPLITS)},
        class_counts={
            split: {label: _count(number, split, index) for index, label in enumerate(CLASSES)}
            for split in dict.fromkeys(SPLITS)
        },
        num_skipped=0,
        skipped=(),
        checksums={},
        created_by="bench",
    )
    (folder / "store.json").write_text(record.model_dump_json())
    audio = "audio.i16" if record.audio_dtype == "int16" else "audio.f16"
    for name, size in (("frames.u8", int(np.prod(frames_shape))), (audio, 2 * int(np.prod(record.audio_shape)))):
        with (folder / name).open("wb") as file:
            file.truncate(number * size)  # sparse: takes no space
    with pq.ParquetWriter(folder / "samples.parquet", SAMPLE_SCHEMA, compression="zstd") as writer:
        for begin in range(0, number, 8_192):
            writer.write_table(_rows(begin, min(number, begin + 8_192)))
    return PreparedStore.open(folder)


def _count(number: int, split: str, label: int | None = None) -> int:
    """Returns the clips of a split, of one class or of all: splits repeat every 5 clips, classes every 10."""
    places = (k for k in range(10) if SPLITS[k % 5] == split and label in (None, k))
    return sum(len(range(k, number, 10)) for k in places)


def _rows(begin: int, end: int) -> pa.Table:
    rows = np.arange(begin, end)
    random = np.random.default_rng(begin)
    given = {
        "sample_id": pa.array([f"train__class-{k % 10:02d}__clip-{k:07d}.mp4" for k in rows.tolist()]),
        "label": pa.DictionaryArray.from_arrays(pa.array((rows % 10).astype(np.int32)), pa.array(CLASSES)),
        "label_index": pa.array((rows % 10).astype(np.int32)),
        "split": pa.array([SPLITS[k % 5] for k in rows.tolist()]),
        "row": pa.array(rows),
        "path": pa.array([f"/data/corpus/train/clip-{k:07d}.mp4" for k in rows.tolist()]),
        "notes": pa.array(['{"corrupted": "audio"}' if k % 20 == 0 else "{}" for k in rows.tolist()]),
        "has_audio": pa.array([True] * len(rows)),
        "has_visual": pa.array([True] * len(rows)),
        "duration_s": pa.array(random.gamma(4.0, 2.0, len(rows)).astype(np.float32)),
        **{metric.name: pa.array(random.random(len(rows)).astype(np.float32) ** 8) for metric in METRICS},
    }
    arrays = []
    for item in SAMPLE_SCHEMA:
        if item.name not in given:
            arrays.append(pa.nulls(len(rows), item.type))
        elif pa.types.is_dictionary(item.type):
            array = given[item.name]
            plain = array.cast(item.type.value_type) if pa.types.is_dictionary(array.type) else array
            arrays.append(plain.dictionary_encode().cast(item.type))
        else:
            arrays.append(given[item.name].cast(item.type))
    return pa.Table.from_arrays(arrays, schema=SAMPLE_SCHEMA)
