"""Rows by their places, over row groups; a kept row follows its file."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.parquet_rows import row_at, rows_at


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": list("abcdefg"), "number": range(7)}), path, row_group_size=3)
    return path


def test_rows_come_in_the_order_that_was_asked_for(table: Path) -> None:
    assert [row["id"] for row in rows_at(table, [6, 0, 4, 3])] == ["g", "a", "e", "d"]
    assert rows_at(table, [2, 5], ["number"]) == [{"number": 2}, {"number": 5}]
    assert rows_at(table, []) == []


def test_a_row_beyond_the_end_is_none_and_a_kept_row_follows_its_file(table: Path) -> None:
    assert row_at(table, 7) is None
    assert row_at(table, 4) == row_at(table, 4) == {"id": "e", "number": 4}
    pq.write_table(pa.table({"id": list("hijkl"), "number": range(5)}), table)
    os.utime(table, ns=(1, 1))
    assert row_at(table, 4) == {"id": "l", "number": 4}
