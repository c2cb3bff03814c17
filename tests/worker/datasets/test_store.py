from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worker.contract.errors import CorruptRecordError, NotFoundError
from worker.contract.quality import METRICS
from worker.contract.spec.datasets import AvDigits
from worker.datasets.prepare import prepare
from worker.datasets.store import SAMPLE_SCHEMA, PreparedStore, StoreRecord

SPEC = AvDigits(num_train=50, num_validation=20, num_test=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("dataset")
    prepare(SPEC, place, num_processes=2)
    return place / "store"


def copy_of(folder: Path, place: Path) -> Path:
    place.mkdir()
    for path in folder.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    return place


def test_gathers_batches_in_the_order_asked_for(folder: Path) -> None:
    store = PreparedStore.open(folder)
    indices = np.array([70, 3, 3, 0])
    frames, audio = store.batch(indices)
    assert frames.flags.c_contiguous
    assert frames.flags.owndata
    assert audio.flags.c_contiguous
    for place, index in enumerate(indices):
        one_frames, one_audio = store.batch([index])
        assert np.array_equal(frames[place], one_frames[0])
        assert np.array_equal(audio[place], one_audio[0])


def test_splits_labels_and_ids_agree_with_the_table(folder: Path) -> None:
    store = PreparedStore.open(folder)
    assert [len(store.indices(split)) for split in ("train", "validation", "test", "none")] == [50, 20, 20, 0]
    assert set(store.splits()) == {"train", "validation", "test"}
    assert [store.classes[label] for label in store.labels] == store.column("label").to_pylist()
    assert store.column("row").to_pylist() == list(range(90))
    assert store.column("label").type == SAMPLE_SCHEMA.field("label").type
    assert len(set(store.sample_ids)) == 90
    assert store.groups[0].startswith("image-")


def test_no_store_and_another_format_are_said_apart_from_damage(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        PreparedStore.open(tmp_path)
    assert caught.value.code == "store-not-found"
    copy = copy_of(folder, tmp_path / "newer")
    record = json.loads((copy / "store.json").read_text())
    (copy / "store.json").write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(CorruptRecordError) as refused:
        PreparedStore.open(copy)
    assert refused.value.code == "format-too-new"


def test_a_store_of_the_format_before_opens(folder: Path, tmp_path: Path) -> None:
    copy = copy_of(folder, tmp_path / "older")
    record = json.loads((copy / "store.json").read_text())
    (copy / "store.json").write_text(json.dumps({**record, "format": 1}))
    table = pq.read_table(copy / "samples.parquet")
    pq.write_table(table.drop_columns([metric.name for metric in METRICS] + ["content_hash"]), copy / "samples.parquet")
    store = PreparedStore.open(copy)
    assert store.batch([0])[0].shape[0] == 1
    assert len(store.sample_ids) == 90
    assert store.notes(0) is not None


def test_a_file_cut_off_is_found_at_opening_and_a_changed_one_by_its_checksum(folder: Path, tmp_path: Path) -> None:
    cut = copy_of(folder, tmp_path / "cut")
    with (cut / "frames.u8").open("r+b") as file:
        file.truncate(1_000)
    with pytest.raises(CorruptRecordError):
        PreparedStore.open(cut)
    changed = copy_of(folder, tmp_path / "changed")
    data = bytearray((changed / "audio.f16").read_bytes())
    data[777] ^= 1
    (changed / "audio.f16").write_bytes(data)
    PreparedStore.open(changed)
    with pytest.raises(CorruptRecordError, match=r"audio\.f16 is damaged"):
        PreparedStore.open(changed, verify=True)


def test_a_million_clips_open_in_well_under_a_second(folder: Path, tmp_path: Path) -> None:
    number = 1_000_000
    record = json.loads((folder / "store.json").read_text())
    record.update(num_samples=number, num_rows=number, frames_shape=[1, 16, 16, 3], audio_shape=[8, 8])
    (tmp_path / "store.json").write_text(StoreRecord.model_validate(record).model_dump_json())
    for name, size in (("frames.u8", 768), ("audio.f16", 128)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(number * size)  # sparse: takes no space
    columns = {
        "sample_id": pa.array([f"clip-{k}" for k in range(number)]),
        "label_index": pa.array(np.arange(number, dtype=np.int32) % 10),
        "split": pa.array(["train"] * number).dictionary_encode(),
        "row": pa.array(np.arange(number)),
    }
    pq.write_table(pa.table(columns), tmp_path / "samples.parquet", row_group_size=8_192)
    begun = time.perf_counter()
    store = PreparedStore.open(tmp_path)
    opened_s = time.perf_counter() - begun
    store.batch(np.random.default_rng(0).integers(0, number, 64))
    assert len(store.indices("train")) == len(store.labels) == number
    assert store.sample_ids[-1] == "clip-999999"
    assert opened_s < 0.2
    assert time.perf_counter() - begun < 5
