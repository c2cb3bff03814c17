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
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backend.paging import Cursor, Sort, invalid_cursor
from backend.parquet_rows import rows_at
from worker.contract.quality import METRICS

MEMORY_LIMIT = "128MB"
THREADS = 2

SORT_COLUMNS: dict[str, str] = {
    "sample_id": "sample_id",
    "gap": "gap",
    "abs_gap": "abs(gap)",
    "posterior_imbalanced": "posterior_imbalanced",
    "loss_weight": "loss_weight",
    "p_true_fused": "p_true_fused",
    "p_true_audio": "p_true_audio",
    "p_true_visual": "p_true_visual",
    "label": "label",
    "gap_change": "gap_change",
    **{metric.name: metric.name for metric in METRICS},
}
"""Name of a sort -> what is sorted by."""
TEXT_COLUMNS = frozenset({"sample_id", "label"})
SINCE_SORTS = {"gap_change": "gap - gap_before", "abs_gap_change": "abs(gap - gap_before)"}
"""Sorts that need the column `gap_before` beside a sample table."""
LOSS_SORTS = {f"loss_{name}": f"-ln(greatest(p_true_{name}, 1e-38))" for name in ("fused", "audio", "visual")}
_SAMPLE_SORTS = SORT_COLUMNS | LOSS_SORTS | SINCE_SORTS
BESIDE = "beside"
PASSES = "passes"
"""Column beside a table: whether the clip passes what is not in the table itself."""


@dataclass(frozen=True)
class Source:
    """What stands after FROM, with its parameters."""

    sql: str
    parameters: tuple[Any, ...] = ()
    beside: pa.Table | None = None
    """Columns that stand beside the table's, row by row; `sql` knows them as BESIDE."""

    @classmethod
    def of(cls, table: Path, beside: pa.Table | None = None) -> Source:
        """Returns one Parquet file, with `file_row_number`, and the columns beside it."""
        read = "read_parquet(?, file_row_number = true)"
        joined = read if beside is None else f"(SELECT * FROM {read} POSITIONAL JOIN {BESIDE})"
        return cls(joined, (str(table),), beside)


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
        self._database.execute("SET parquet_metadata_cache = true")  # footers; checked by the time of change
        self._database.execute("SET allowed_directories = [?]", [str(home.resolve())])
        self._database.execute("SET enable_external_access = false")
        self._database.execute("SET lock_configuration = true")

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def rows(self, sql: str, parameters: tuple[Any, ...] = (), beside: pa.Table | None = None) -> list[dict[str, Any]]:
        """Returns all rows of a query as dictionaries; `beside` is a table that the query names BESIDE."""
        with self._database.cursor() as cursor:
            if beside is not None:
                cursor.register(BESIDE, beside)
            cursor.execute(sql, list(parameters))
            names = [column[0] for column in cursor.description or []]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def column(self, sql: str, parameters: tuple[Any, ...] = ()) -> NDArray[Any]:
        """Returns the only column of a query, in its rows' order; it must have no nulls."""
        with self._database.cursor() as cursor:
            cursor.execute(sql, list(parameters))
            (values,) = cursor.fetchnumpy().values()
            column: NDArray[Any] = np.asarray(values)
            return column

    def record_batches(
        self, sql: str, parameters: tuple[Any, ...] = (), size: int = 8_192, beside: pa.Table | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a query in Arrow batches; one empty batch where there are none."""
        with self._database.cursor() as cursor:
            if beside is not None:
                cursor.register(BESIDE, beside)
            reader: pa.RecordBatchReader = cursor.sql(sql, params=list(parameters)).to_arrow_reader(size)
            empty = True
            for batch in reader:
                empty = False
                yield batch
            if empty:
                yield pa.RecordBatch.from_pylist([], schema=reader.schema)

    def count(self, source: Source, where: Where) -> int:
        """Returns the number of rows that pass a condition."""
        sql = f"SELECT count(*) AS n FROM {source.sql} WHERE {where.sql}"
        return int(self.rows(sql, (*source.parameters, *where.parameters), source.beside)[0]["n"])

    def page(
        self, source: Source, where: Where, sort: Sort, after: Cursor | None, limit: int
    ) -> tuple[list[dict[str, Any]], Cursor | None]:
        """Returns one page of rows with all their columns, and the cursor of the next one or None at the end.

        Rows without a value come last in both directions; ties go by sample id.

        Args:
            source: rows with a sample_id.
            where: which rows.
            sort: a name of `SORT_COLUMNS`, and the direction.
            after: the last row of the page before.
            limit: rows of a page, at least 1.
        """
        rows, cursor = self._keyed("*", SORT_COLUMNS[sort.field], source, where, sort, after, limit)
        for row in rows:
            row.pop("sort_key")
        return rows, cursor

    def sample_page(
        self, source: Source, where: Where, sort: Sort, after: Cursor | None, limit: int
    ) -> tuple[list[dict[str, Any]], Cursor | None, int]:
        """Returns as `page`, of a sample table, and how many rows pass in all.

        One pass over what condition and sort need counts, and finds the page's rows; then those rows alone are read.

        Args:
            source: `Source.of` a sample table, with the columns beside it that condition and sort need.
            where: which rows.
            sort: what the API sorts samples by, and the direction.
            after: the last row of the page before.
            limit: rows of a page, at least 1.
        """
        key = _SAMPLE_SORTS[sort.field]
        total, found = (0, None) if sort.field in TEXT_COLUMNS else self._first(source, where, key, sort, after, limit)
        if found is None:
            columns = "sample_id, file_row_number"
            rows, cursor = self._keyed(columns, key, source, where, sort, after, limit)
            total = self.count(source, where)
            return self._at(source, [row["file_row_number"] for row in rows]), cursor, total
        rows = self._at(source, list(found))
        keyed = sorted(zip(found.values(), rows, strict=True), key=lambda pair: str(pair[1]["sample_id"]))
        keyed.sort(key=lambda pair: pair[0], reverse=sort.descending)
        page = keyed[:limit]
        last = Cursor(page[-1][0], page[-1][1]["sample_id"]) if len(keyed) > limit else None
        return [row for _, row in page], last, total

    def _first(
        self, source: Source, where: Where, key: str, sort: Sort, after: Cursor | None, limit: int
    ) -> tuple[int, dict[int, float] | None]:
        """Returns how many rows pass, and the places and keys of the first `limit` + 1 after a cursor.

        The places are None where keys alone do not tell which rows come first: the last key is another row's too, or
        rows without a key follow.
        """
        beyond = Where() if after is None else _after(Where(), key, sort, after)
        least, asked = "max" if sort.descending else "min", limit + 2
        sql = (
            f"SELECT count(*) AS total, count(*) FILTER (WHERE {beyond.sql}) AS follow, "
            f"{least}({key}, {asked:d}) FILTER (WHERE {beyond.sql}) AS keys, "
            f"arg_{least}(file_row_number, {key}, {asked:d}) FILTER (WHERE {beyond.sql}) AS places "
            f"FROM {source.sql} WHERE {where.sql}"
        )
        parameters = (*beyond.parameters * 3, *source.parameters, *where.parameters)
        (row,) = self.rows(sql, parameters, source.beside)
        keys, places = row["keys"] or [], row["places"] or []
        told = len(keys) == row["follow"] if len(keys) < asked else keys[limit] != keys[limit + 1]
        first = dict(zip(places[: limit + 1], keys[: limit + 1], strict=True)) if told else None
        return int(row["total"]), first

    def _keyed(
        self, columns: str, key: str, source: Source, where: Where, sort: Sort, after: Cursor | None, limit: int
    ) -> tuple[list[dict[str, Any]], Cursor | None]:
        if after is not None:
            where = _after(where, key, sort, after)
        direction = "DESC" if sort.descending else "ASC"
        sql = (
            f"SELECT {columns}, {key} AS sort_key FROM {source.sql} WHERE {where.sql} "
            f"ORDER BY sort_key {direction} NULLS LAST, sample_id LIMIT {limit + 1:d}"
        )
        found = self.rows(sql, (*source.parameters, *where.parameters), source.beside)
        page = found[:limit]
        return page, Cursor(page[-1]["sort_key"], page[-1]["sample_id"]) if len(found) > limit else None

    def _at(self, source: Source, places: list[int]) -> list[dict[str, Any]]:
        """Returns whole rows of a sample table by their places: few rows of all columns, after many rows of few."""
        rows = rows_at(Path(source.parameters[0]), places)
        if source.beside is None or not rows:
            return rows
        beside = source.beside.take(places).to_pylist()
        return [row | more for row, more in zip(rows, beside, strict=True)]


def _after(where: Where, key: str, sort: Sort, after: Cursor) -> Where:
    """Returns the condition narrowed to what comes after a cursor, whose key must be of the sort's kind."""
    if after.key is None:
        return where.add(f"({key} IS NULL AND sample_id > ?)", after.id)
    if isinstance(after.key, str) != (sort.field in TEXT_COLUMNS):
        raise invalid_cursor(str(after.key))
    beyond = "<" if sort.descending else ">"
    clause = f"({key} {beyond} ? OR ({key} = ? AND sample_id > ?) OR {key} IS NULL)"
    return where.add(clause, after.key, after.key, after.id)
