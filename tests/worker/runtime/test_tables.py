"""Per-sample files: every column with its type, and the same files when an epoch is written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worker.contract.layout import SAMPLE_COLUMNS, RunFolder
from worker.runtime.tables import SampleFiles

NUM = 6


class Store:
    classes = ("cat", "dog")
    sample_ids = tuple(f"s{index}" for index in range(NUM))
    labels = np.array([0, 1, 0, 1, 0, 1])

    def splits(self) -> list[str]:
        return ["train", "test", "train", "validation", "test", "train"]


def columns(num_rows: int, value: float = 0.5) -> dict[str, np.ndarray[Any, Any]]:
    made: dict[str, np.ndarray[Any, Any]] = {}
    for name, kind in SAMPLE_COLUMNS.items():
        if name in ("sample_id", "split", "label"):
            continue
        if kind == "float32":
            made[name] = np.full(num_rows, value, np.float32)
        elif kind == "bool":
            made[name] = np.arange(num_rows) % 2 == 0
        else:
            made[name] = (np.arange(num_rows) % 2).astype(np.int32)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def written(folder: RunFolder, epoch: int = 2) -> SampleFiles:
    files = SampleFiles(folder, Store())
    rows = np.array([0, 2, 3, 5])
    gaps = np.full(NUM, np.nan, np.float32)
    gaps[rows] = [0.1, 0.2, np.nan, 0.4]
    made = columns(4)
    made["gap"] = gaps[rows]
    files.write_epoch(epoch, rows, made, gaps, np.full(NUM, np.nan, np.float32))
    return files


def test_a_table_has_the_contracts_columns(folder: RunFolder) -> None:
    written(folder)
    table = pq.read_table(folder.sample_table(2))
    assert table.column_names == list(SAMPLE_COLUMNS)
    for name, kind in SAMPLE_COLUMNS.items():
        found = table.schema.field(name).type
        assert pa.types.is_dictionary(found) if kind == "dictionary" else str(found).startswith(kind[:5]), name
    assert table.column("sample_id").to_pylist() == ["s0", "s2", "s3", "s5"]
    assert table.column("split").to_pylist() == ["train", "train", "validation", "train"]
    assert table.column("label").to_pylist() == ["cat", "cat", "dog", "dog"]
    assert table.column("gap").to_pylist()[2] is None
    assert table.column("predicted_audio").to_pylist() == ["cat", "dog", "cat", "dog"]


def test_trajectories_have_a_row_an_epoch(folder: RunFolder) -> None:
    written(folder, 1)
    written(folder, 2)
    before = {path.name: path.read_bytes() for path in folder.samples.iterdir()}
    written(folder, 2)  # after a crash
    assert {path.name: path.read_bytes() for path in folder.samples.iterdir()} == before
    gaps = np.memmap(folder.gaps, np.float32, "r").reshape(-1, NUM)
    assert gaps.shape == (2, NUM)
    assert gaps[:, 2].tolist() == pytest.approx([0.2, 0.2])
    assert np.isnan(gaps[:, 1]).all()


def test_test_rows_join_the_last_epoch_in_the_stores_order_once(folder: RunFolder) -> None:
    files = written(folder, 2)
    for _ in range(2):
        files.add_test(2, np.array([1, 4]), columns(2, 0.25))
    table = pq.read_table(folder.sample_table(2))
    assert table.column("sample_id").to_pylist() == list(Store.sample_ids)
    assert table.column("split").to_pylist() == Store().splits()
    assert table.column("gap").to_pylist()[1] == 0.25
    gaps = np.memmap(folder.gaps, np.float32, "r").reshape(-1, NUM)
    assert gaps[1, [1, 4]].tolist() == [0.25, 0.25]
    assert gaps[1, 0] == pytest.approx(0.1)
    assert [path.name for path in folder.samples.glob(".*")] == []
