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
from backend.tables import Tables, Where
from worker.contract.events import EpochFinished

CSV_TYPE = "text/csv"
PARQUET_TYPE = "application/vnd.apache.parquet"
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def sample_batches(tables: Tables, table: Path, where: Where) -> Iterator[pa.RecordBatch]:
    """Returns the rows of a sample table that pass a condition, in the store's order."""
    sql = f"SELECT * FROM read_parquet(?) WHERE {where.sql}"
    return tables.record_batches(sql, (str(table), *where.parameters))


def epoch_rows(events: Sequence[EpochFinished]) -> Iterator[pa.RecordBatch]:
    """Returns one row an epoch: every number of the event under its dotted name; histograms are left out."""
    rows = [_epoch_row(event) for event in events]
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["epoch"]
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    return iter(table.to_batches() or [pa.RecordBatch.from_pydict({name: table[name] for name in names})])


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
