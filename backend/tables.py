"""The per-epoch sample tables (Parquet), read by DuckDB: filters, keyset pages, counts.

One in-memory DuckDB with two threads and little memory serves all requests, each through a cursor of its own. It may
read files under the home and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from backend.paging import Cursor, Sort, invalid_cursor

MEMORY_LIMIT = "128MB"
THREADS = 2

SORT_COLUMNS = {
    "sample_id": "sample_id",
    "gap": "gap",
    "abs_gap": "abs(gap)",
    "posterior_imbalanced": "posterior_imbalanced",
    "loss_weight": "loss_weight",
    "p_true_fused": "p_true_fused",
    "p_true_audio": "p_true_audio",
    "p_true_visual": "p_true_visual",
    "label": "label",
}
"""Name of a sort -> what is sorted by."""
TEXT_COLUMNS = frozenset({"sample_id", "label"})


@dataclass(frozen=True)
class Where:
    """A condition in SQL with its parameters: values never become part of the text."""

    clauses: tuple[str, ...] = ()
    parameters: tuple[Any, ...] = field(default=())

    def add(self, clause: str, *parameters: Any) -> Where:
        """Returns the condition narrowed by one clause."""
        return Where((*self.clauses, clause), (*self.parameters, *parameters))

    @property
    def sql(self) -> str:
        """The condition as text; true where there is none."""
        return " AND ".join(self.clauses) or "true"


class Tables:
    """DuckDB over the Parquet files of one home."""

    def __init__(self, home: Path) -> None:
        """Opens an in-memory database that may read only files under `home`."""
        self._database = duckdb.connect(
            config={"threads": THREADS, "memory_limit": MEMORY_LIMIT, "temp_directory": str(home / "tmp" / "duckdb")}
        )
        self._database.execute("SET autoinstall_known_extensions = false")
        self._database.execute("SET enable_progress_bar = false")
        self._database.execute("SET allowed_directories = [?]", [str(home.resolve())])
        self._database.execute("SET enable_external_access = false")
        self._database.execute("SET lock_configuration = true")

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def rows(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """Returns all rows of a query as dictionaries."""
        with self._database.cursor() as cursor:
            cursor.execute(sql, list(parameters))
            names = [column[0] for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def record_batches(self, sql: str, parameters: tuple[Any, ...] = (), size: int = 8_192) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a query in Arrow batches; one empty batch where there are none."""
        with self._database.cursor() as cursor:
            reader: pa.RecordBatchReader = cursor.sql(sql, params=list(parameters)).to_arrow_reader(size)
            empty = True
            for batch in reader:
                empty = False
                yield batch
            if empty:
                yield pa.RecordBatch.from_pylist([], schema=reader.schema)

    def count(self, table: Path, where: Where) -> int:
        """Returns the number of rows that pass a condition."""
        sql = f"SELECT count(*) AS n FROM read_parquet(?) WHERE {where.sql}"
        return int(self.rows(sql, (str(table), *where.parameters))[0]["n"])

    def page(
        self, table: Path, where: Where, sort: Sort, after: Cursor | None, limit: int
    ) -> tuple[list[dict[str, Any]], Cursor | None]:
        """Returns one page of a sample table, and the cursor of the next one or None at the end.

        Rows without a value come last in both directions; ties go by sample id.

        Args:
            table: the Parquet file.
            where: which rows.
            sort: a name of `SORT_COLUMNS`, and the direction.
            after: the last row of the page before.
            limit: rows of a page, at least 1.
        """
        key = SORT_COLUMNS[sort.field]
        if after is not None:
            if after.key is not None and isinstance(after.key, str) != (sort.field in TEXT_COLUMNS):
                raise invalid_cursor(str(after.key))
            where = _after(where, key, sort.descending, after)
        direction = "DESC" if sort.descending else "ASC"
        sql = (
            f"SELECT *, {key} AS sort_key FROM read_parquet(?) WHERE {where.sql} "
            f"ORDER BY sort_key {direction} NULLS LAST, sample_id LIMIT {limit + 1:d}"
        )
        rows = self.rows(sql, (str(table), *where.parameters))
        more = len(rows) > limit
        keys = [row.pop("sort_key") for row in rows[:limit]]
        return rows[:limit], Cursor(keys[-1], rows[limit - 1]["sample_id"]) if more else None


def _after(where: Where, key: str, descending: bool, after: Cursor) -> Where:
    if after.key is None:
        return where.add(f"({key} IS NULL AND sample_id > ?)", after.id)
    beyond = "<" if descending else ">"
    clause = f"({key} {beyond} ? OR ({key} = ? AND sample_id > ?) OR {key} IS NULL)"
    return where.add(clause, after.key, after.key, after.id)
