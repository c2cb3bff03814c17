from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from worker.datasets.rows import RowFile
from worker.datasets.texts import Texts


def test_rows_come_in_the_order_asked_for(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.float16).reshape(10, 2, 3)
    (tmp_path / "rows").write_bytes(values.tobytes())
    rows = RowFile(tmp_path / "rows", 10, (2, 3), np.dtype(np.float16))
    assert np.array_equal(rows.take(np.array([9, 0, 0, 4])), values[[9, 0, 0, 4]])
    assert rows.take(np.zeros(0, np.int64)).shape == (0, 2, 3)


def test_a_short_file_is_refused_and_one_cut_off_later_is_an_error_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(bytes(100))
    with pytest.raises(ValueError, match="expected 110 bytes"):
        RowFile(tmp_path / "rows", 11, (10,), np.dtype(np.uint8))
    rows = RowFile(tmp_path / "rows", 10, (10,), np.dtype(np.uint8))
    os.truncate(tmp_path / "rows", 55)
    with pytest.raises(OSError, match="cut off"):
        rows.take(np.array([5]))


def test_the_file_is_closed_with_its_reader(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(bytes(100))
    before = len(os.listdir("/proc/self/fd"))
    rows = RowFile(tmp_path / "rows", 10, (10,), np.dtype(np.uint8))
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del rows
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_texts_are_a_sequence_that_arrow_takes_as_it_is() -> None:
    texts = Texts(pa.array(["a", "ü", "c"]))
    assert list(texts) == ["a", "ü", "c"] == texts
    assert (texts[1], texts[-1], len(texts), "c" in texts) == ("ü", "c", 3, True)
    assert texts[1:] == ["ü", "c"]
    assert pa.array(texts, pa.string()).equals(pa.array(["a", "ü", "c"]))
