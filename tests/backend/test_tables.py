"""Pages of a sample table: whatever the sort, ties and gaps in it, every row comes once and in order."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.paging import Cursor, Sort, page_of
from backend.parquet_rows import rows_at
from backend.tables import Source, Tables, Where
from worker.contract.errors import InvalidRequestError

ROWS = 200


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    drawn = random.Random(3)
    values = {
        "all different": lambda: drawn.uniform(-1, 1),
        "many alike": lambda: drawn.choice([-0.5, 0.0, 0.25]),
        "some missing": lambda: drawn.choice([None, drawn.uniform(0, 1)]),
    }
    columns = dict(zip(("gap", "posterior_imbalanced", "p_true_audio"), values.values(), strict=True))
    return [
        {
            "sample_id": f"clip-{n * 37 % ROWS:03d}",
            "label": "ab"[n % 2],
            **{name: make() for name, make in columns.items()},
        }
        for n in range(ROWS)
    ]


@pytest.fixture(scope="module")
def table(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home") / "epoch.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=16)
    return path


@pytest.mark.parametrize("field", ["gap", "posterior_imbalanced", "p_true_audio", "sample_id", "label"])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 7, 50])
def test_every_row_comes_once_and_in_order(
    rows: list[dict[str, Any]], table: Path, field: str, descending: bool, limit: int
) -> None:
    tables, sort, where = Tables(table.parent), Sort(field, descending), Where().add("label = ?", "a")
    wanted = [row for row in rows if row["label"] == "a"]
    after: Cursor | None = None
    while True:
        page, cursor, total = tables.sample_page(Source.of(table), where, sort, after, limit)
        expected, expected_cursor = page_of(
            wanted,
            key=lambda row: row[field],
            row_id=lambda row: str(row["sample_id"]),
            sort=sort,
            after=after,
            limit=limit,
        )
        assert page == expected
        assert cursor == expected_cursor
        assert total == len(wanted)
        if cursor is None:
            break
        after = cursor
    tables.close()


@pytest.mark.parametrize(("field", "key"), [("gap", ""), ("posterior_imbalanced", "0.5"), ("label", 0.5), ("label", 1)])
def test_a_cursor_whose_key_is_of_another_kind_is_refused(table: Path, field: str, key: str | float) -> None:
    tables = Tables(table.parent)
    with pytest.raises(InvalidRequestError) as refused:
        tables.sample_page(Source.of(table), Where(), Sort(field, False), Cursor(key, "clip-000"), 5)
    assert refused.value.code == "invalid-cursor"
    tables.close()


def test_rows_come_in_the_order_in_which_they_are_asked_for(rows: list[dict[str, Any]], table: Path) -> None:
    places = [199, 3, 16, 15, 3, 0]
    assert rows_at(table, places) == [rows[place] for place in places]
    assert rows_at(table, [20], ("label",)) == [{"label": rows[20]["label"]}]
    assert rows_at(table, []) == []


def test_a_file_written_again_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    for number in (1, 2):
        pq.write_table(pa.table({"value": list(range(number * 10))}), path)
        assert rows_at(path, [number * 10 - 1]) == [{"value": number * 10 - 1}]
