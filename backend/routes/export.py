"""A run's tables as files."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from backend.dependencies import RunId, Uses
from backend.exporting import CSV_TYPE, PARQUET_TYPE, epoch_rows, in_csv, in_parquet, sample_batches
from backend.problems import documented
from backend.run_jobs import require_folder
from backend.samples import SampleCondition

router = APIRouter(prefix="/runs", tags=["samples"])


class Export(SampleCondition):
    """Which table in which format; the filters are those of the samples."""

    table: Literal["samples", "epochs"] = Field("samples", description="Samples of one epoch, or one row an epoch.")
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
        **documented(404),
    },
)
def export_table(run_id: RunId, wanted: Annotated[Export, Query()], services: Uses) -> StreamingResponse:
    """Streams a table. Text that a spreadsheet would take for a formula is marked with an apostrophe in CSV."""
    if wanted.table == "epochs":
        require_folder(services.tools, run_id)
        name, batches = f"{run_id}-epochs", epoch_rows(services.events.epochs(run_id))
    else:
        epoch, table = services.archive.table(run_id, wanted.epoch, services.tools.record("run", run_id).epoch)
        name, batches = f"{run_id}-samples-{epoch}", sample_batches(services.tables, table, wanted.where())
    is_csv = wanted.format == "csv"
    return StreamingResponse(
        in_csv(batches) if is_csv else in_parquet(batches),
        media_type=CSV_TYPE if is_csv else PARQUET_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{name}.{wanted.format}"'},
    )
