"""A run's tables as files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import pyarrow as pa
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from backend.dependencies import RunId, Services, Uses
from backend.exporting import (
    CSV_TYPE,
    MEASURED_ROWS,
    PARQUET_TYPE,
    epoch_rows,
    export_size,
    in_csv,
    in_parquet,
    sample_batches,
)
from backend.presenting import run_spec
from backend.problems import documented
from backend.run_jobs import require_folder
from backend.samples import SampleCondition
from backend.tables import Source, Where
from worker.contract.resources import ExportSize

router = APIRouter(prefix="/runs", tags=["samples"])


class ExportedTable(SampleCondition):
    """Which table; the filters are those of the samples."""

    table: Literal["samples", "epochs"] = Field("samples", description="Samples of one epoch, or one row an epoch.")


class Export(ExportedTable):
    """Which table in which format."""

    format: Literal["csv", "parquet"] = Field("csv", description="The file's format.")


@router.get(
    "/{run_id}/export",
    summary="Samples or epochs as CSV or Parquet",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                CSV_TYPE: {"schema": {"type": "string"}},
                PARQUET_TYPE: {"schema": {"type": "string", "format": "binary"}},
            }
        },
        **documented(404, 410),
    },
)
def export_table(run_id: RunId, wanted: Annotated[Export, Query()], services: Uses) -> StreamingResponse:
    """Streams a table. Text that a spreadsheet would take for a formula is marked with an apostrophe in CSV."""
    if wanted.table == "epochs":
        name, batches = f"{run_id}-epochs", _epochs(run_id, services)
    else:
        epoch, source, where = _samples(run_id, wanted, services)
        name, batches = f"{run_id}-samples-{epoch}", sample_batches(services.tables, source, where)
    is_csv = wanted.format == "csv"
    return StreamingResponse(
        in_csv(batches) if is_csv else in_parquet(batches),
        media_type=CSV_TYPE if is_csv else PARQUET_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{name}.{wanted.format}"'},
    )


@router.get("/{run_id}/export/size", summary="Rows and bytes of an export", responses=documented(404, 410))
def read_export_size(run_id: RunId, wanted: Annotated[ExportedTable, Query()], services: Uses) -> ExportSize:
    """The rows are counted. The bytes are counted up to 8,192 rows and follow from those in a longer table."""
    if wanted.table == "epochs":
        batches = list(_epochs(run_id, services))
        return export_size(sum(batch.num_rows for batch in batches), batches)
    _, source, where = _samples(run_id, wanted, services)
    first = sample_batches(services.tables, source, where, MEASURED_ROWS)
    return export_size(services.tables.count(source, where), first)


def _epochs(run_id: str, services: Services) -> Iterator[pa.RecordBatch]:
    require_folder(services.tools, run_id)
    protocol = run_spec(services.home, run_id).dataset.protocol
    return epoch_rows(services.events.epochs(run_id), protocol)


def _samples(run_id: str, wanted: ExportedTable, services: Services) -> tuple[int, Source, Where]:
    record = services.tools.record("run", run_id)
    epoch, table = services.archive.table(run_id, wanted.epoch, record.epoch)
    return epoch, *services.queries.export(record, epoch, table, wanted)
