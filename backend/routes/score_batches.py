"""Batches: score a folder or a manifest of clips, read how far it is, fetch the table."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from backend.dependencies import ID_PATTERN, Owner, Services, Uses
from backend.exporting import CSV_TYPE, PARQUET_TYPE, in_csv, in_parquet, table_batches
from backend.live import IndexEntry
from backend.paging import Sort, decode_cursor, encode_cursor, fingerprint
from backend.presenting import readable
from backend.problems import documented
from worker.contract.score_batches import ScoreBatch, ScoreBatchRequest, TableFormat

router = APIRouter(prefix="/scores/batch", tags=["scores"])
LOCATION = "/api/v1/scores/batch/"
BatchId = Annotated[str, Path(pattern=ID_PATTERN, description="A batch's id.")]
_EXAMPLES = {"folder": {"value": {"run_id": "run-1", "path": "/data/new-clips", "format": "csv"}}}


class BatchPage(BaseModel):
    """A page of batches."""

    items: list[ScoreBatch]
    next: str | None = Field(None, description="Cursor of the next page; null at the end.")


class BatchDeleted(BaseModel):
    """What deleting a batch freed."""

    freed_bytes: int = Field(ge=0, description="Bytes that were freed at once.")


class BatchFilter(BaseModel):
    """Which batches."""

    model_config = ConfigDict(extra="forbid")

    run_id: str | None = Field(None, pattern=ID_PATTERN, description="Only batches by this run.")
    state: Literal["queued", "running", "cancelling", "cancelled", "finished", "failed"] | None = Field(
        None, description="Only batches in this state."
    )
    limit: int = Field(50, ge=1, le=500, description="Items of a page.")
    cursor: str | None = Field(None, min_length=1, max_length=1_024, description="`next` of the page before.")

    def wants(self, entry: IndexEntry) -> bool:
        """Returns whether a batch passes the filter."""
        return self.run_id in (None, entry.facts.run_id) and self.state in (None, entry.state)


def _shown(services: Services, batch_id: str) -> ScoreBatch:
    return services.batches.shown(services.tools.record("batch", batch_id))


@router.post(
    "", status_code=202, summary="Score a folder or a manifest of clips", responses=documented(404, 409, 413, 429, 507)
)
def create_batch(
    asked: Annotated[ScoreBatchRequest, Body(openapi_examples=_EXAMPLES)],
    services: Uses,
    owner: Owner,
    response: Response,
) -> ScoreBatch:
    """Queues a batch. Its table has one row a clip; one that cannot be scored has a row that says why."""
    record = services.batches.accept(asked, owner=owner)
    response.headers["Location"] = LOCATION + record.id
    return services.batches.shown(record)


@router.get("", summary="Batches by page, newest first")
def list_batches(wanted: Annotated[BatchFilter, Query()], services: Uses) -> BatchPage:
    """Batches that pass the filter, newest first."""
    pinned = fingerprint({"batches": wanted.model_dump(exclude={"cursor", "limit"})})
    after = decode_cursor(wanted.cursor, pinned) if wanted.cursor else None
    records, cursor = services.live.page("batch", wanted.wants, Sort("created_at", True), after, wanted.limit)
    return BatchPage(
        items=readable(records, services.batches.shown), next=encode_cursor(cursor, pinned) if cursor else None
    )


@router.get("/{batch_id}", summary="One batch", responses=documented(404))
def read_batch(batch_id: BatchId, services: Uses) -> ScoreBatch:
    """A batch and how far it is."""
    return _shown(services, batch_id)


@router.delete("/{batch_id}", summary="Delete a batch", responses=documented(404, 409))
def delete_batch(batch_id: BatchId, services: Uses) -> BatchDeleted:
    """Deletes an ended batch and its table, never the clips that it scored; frees the space at once."""
    return BatchDeleted(freed_bytes=services.batches.delete(batch_id))


@router.post("/{batch_id}/cancel", status_code=202, summary="Cancel a batch", responses=documented(404, 409))
def cancel_batch(batch_id: BatchId, services: Uses, response: Response) -> ScoreBatch:
    """Asks a batch to end. The rows so far become its table."""
    services.batches.cancel(batch_id)
    response.headers["Location"] = LOCATION + batch_id
    return _shown(services, batch_id)


@router.post("/{batch_id}/resume", status_code=202, summary="Resume a batch", responses=documented(404, 409, 429))
def resume_batch(batch_id: BatchId, services: Uses, owner: Owner, response: Response) -> ScoreBatch:
    """Queues a failed or cancelled batch again; clips that have a row are not scored again."""
    services.batches.resume(batch_id, owner=owner)
    response.headers["Location"] = LOCATION + batch_id
    return _shown(services, batch_id)


@router.get(
    "/{batch_id}/table",
    summary="A batch's table as CSV or Parquet",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                CSV_TYPE: {"schema": {"type": "string"}},
                PARQUET_TYPE: {"schema": {"type": "string", "format": "binary"}},
            }
        },
        **documented(404, 409),
    },
)
def read_table(
    batch_id: BatchId,
    services: Uses,
    format: Annotated[TableFormat | None, Query(description="By default what the batch was asked for with.")] = None,
) -> StreamingResponse:
    """Streams the table. Text that a spreadsheet would take for a formula is marked with an apostrophe in CSV."""
    record = services.tools.record("batch", batch_id)
    batches = table_batches(services.batches.table(record))
    chosen = format or services.batches.shown(record).format
    is_csv = chosen == "csv"
    return StreamingResponse(
        in_csv(batches) if is_csv else in_parquet(batches),
        media_type=CSV_TYPE if is_csv else PARQUET_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{batch_id}.{chosen}"'},
    )
