"""Tables as CSV and Parquet, streamed: memory stays small however long the table is."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backend.comparison import flat
from backend.tables import PASSES, Source, Tables, Where
from worker.contract.events import EpochFinished
from worker.contract.resources import ExportSize

CSV_TYPE = "text/csv"
PARQUET_TYPE = "application/vnd.apache.parquet"
MEASURED_ROWS = 8_192
"""Rows from which the size of a file is told: those of one batch, so that a shorter table is measured as it is sent."""
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def sample_batches(tables: Tables, source: Source, where: Where, most: int | None = None) -> Iterator[pa.RecordBatch]:
    """Returns the rows that pass a condition, in their order, of what SampleQueries.export gives; at most so many."""
    left_out = ["file_row_number", *({PASSES} & set(source.beside.column_names if source.beside is not None else ()))]
    sql = f"SELECT * EXCLUDE ({', '.join(left_out)}) FROM {source.sql} WHERE {where.sql} ORDER BY file_row_number"
    if most is not None:
        sql += f" LIMIT {most:d}"
    return tables.record_batches(sql, (*source.parameters, *where.parameters), beside=source.beside)


def export_size(num_rows: int, first: Iterable[pa.RecordBatch]) -> ExportSize:
    """Returns how large a table is as a file, without making it.

    Args:
        num_rows: of the table.
        first: all of it, or its first MEASURED_ROWS rows.
    """
    batches = list(first)
    num_measured = sum(batch.num_rows for batch in batches)
    header = sum(len(text.encode()) for text in in_csv(batch.slice(0, 0) for batch in batches[:1]))
    csv_bytes = sum(len(text.encode()) for text in in_csv(batches)) - header
    share = num_rows / max(num_measured, 1) if num_rows else 1.0
    return ExportSize(
        num_rows=num_rows,
        csv_bytes=header + round(csv_bytes * share),
        parquet_bytes=round(sum(map(len, in_parquet(batches))) * share),
        exact=num_rows == num_measured,
    )


def table_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a Parquet file, at least one batch, so that the columns are known."""
    with pq.ParquetFile(path) as file:
        if not file.metadata.num_rows:
            schema = file.schema_arrow
            yield pa.RecordBatch.from_pydict({name: [] for name in schema.names}, schema=schema)
        yield from file.iter_batches()


def epoch_rows(events: Sequence[EpochFinished], protocol: str) -> Iterator[pa.RecordBatch]:
    """Returns one row an epoch: every number of the event under its dotted name; histograms are left out.

    Args:
        events: of finished epochs.
        protocol: under which the numbers were made; a column, so that no number stands without it.
    """
    rows = [{**_epoch_row(event), "protocol": protocol} for event in events]
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["epoch", "protocol"]
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    empty = pa.RecordBatch.from_pydict({name: [] for name in names}, schema=table.schema)
    return iter(table.to_batches() or [empty])


def _epoch_row(event: EpochFinished) -> dict[str, Any]:
    document = event.model_dump(mode="json", exclude={"type", "run_id", "format"})
    return {name: value for name, value in flat(document).items() if not isinstance(value, list)}


def _column(values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and kinds:
        return pa.array(values, pa.float64() if float in kinds else pa.int64())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def in_csv(batches: Iterable[pa.RecordBatch]) -> Iterator[str]:
    """Yields CSV text, its header first.

    A text cell that a spreadsheet would run as a formula begins with an apostrophe instead.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    header_due = True
    for batch in batches:
        if header_due:
            writer.writerow([safe_cell(name) for name in batch.schema.names])
            header_due = False
        columns = [column.to_pylist() for column in batch.columns]
        writer.writerows([safe_cell(value) for value in row] for row in zip(*columns, strict=True))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def safe_cell(value: Any) -> Any:
    """Returns a value as a CSV cell that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(_FORMULA_SIGNS):
        return "'" + value
    return value


class _Pieces(io.RawIOBase):
    """Takes what a writer writes and gives it on in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def in_parquet(batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """Yields a Parquet file, a row group a batch."""
    pieces, writer = _Pieces(), None
    for batch in batches:
        if writer is None:
            writer = pq.ParquetWriter(pa.PythonFile(pieces, mode="w"), batch.schema, compression="zstd")
        writer.write_batch(batch)
        yield pieces.take()
    if writer is not None:
        writer.close()
        yield pieces.take()
