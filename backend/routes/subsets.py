"""Subsets: save training samples of a run under a name, list, read, delete."""

from __future__ import annotations

from typing import Annotated, Literal

import pyarrow as pa
from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from backend.dependencies import CursorText, Limit, SubsetId, Uses
from backend.exporting import CSV_TYPE, PARQUET_TYPE, in_csv, in_parquet
from backend.paging import Cursor, Sort, decode_cursor, encode_cursor, fingerprint
from backend.problems import documented
from backend.subsets import SubsetRequest
from worker.contract.subsets import Subset

router = APIRouter(prefix="/subsets", tags=["subsets"])
LOCATION = "/api/v1/subsets/"

SubsetSort = Literal["created_at", "name", "-created_at", "-name"]


class SubsetPage(BaseModel):
    """A page of subsets."""

    items: list[Subset]
    next: str | None = Field(None, description="Cursor of the next page; null at the end.")


class SubsetSamples(BaseModel):
    """A page of the ids of a subset's samples, in the store's order."""

    items: list[str]
    next: str | None = Field(None, description="Cursor of the next page; null at the end.")


class SubsetFilter(BaseModel):
    """Which subsets, in which order."""

    model_config = ConfigDict(extra="forbid")

    dataset: str | None = Field(None, min_length=1, max_length=64, description="Only subsets of this dataset.")
    run: str | None = Field(None, min_length=1, max_length=64, description="Only subsets chosen in this run.")
    sort: SubsetSort = Field("-created_at", description="What to sort by; a leading - for descending.")
    limit: int = Field(50, ge=1, le=500, description="Items of a page.")
    cursor: str | None = Field(None, min_length=1, max_length=1_024, description="`next` of the page before.")


class SubsetDeleted(BaseModel):
    """The subset that is gone."""

    id: str


@router.post("", status_code=201, summary="Save a subset", responses=documented(404, 409, 410, 413, 507))
def create_subset(asked: SubsetRequest, services: Uses, response: Response) -> Subset:
    """Saves training samples of a run under a name. Samples of another split are refused: 422."""
    subset = services.subsets.create(asked)
    response.headers["Location"] = LOCATION + subset.id
    return subset


@router.get("", summary="Subsets by page")
def list_subsets(wanted: Annotated[SubsetFilter, Query()], services: Uses) -> SubsetPage:
    """Saved subsets, a page at a time."""
    pinned = fingerprint(wanted.model_dump(exclude={"cursor", "limit"}))
    after = decode_cursor(wanted.cursor, pinned) if wanted.cursor else None
    items, cursor = services.subsets.page(wanted.dataset, wanted.run, Sort.parse(wanted.sort), after, wanted.limit)
    return SubsetPage(items=items, next=encode_cursor(cursor, pinned) if cursor else None)


@router.get("/{subset_id}", summary="One subset", responses=documented(404))
def read_subset(subset_id: SubsetId, services: Uses) -> Subset:
    """A subset with the runs that train on it."""
    subset = services.subsets.require(subset_id)
    return subset.model_copy(update={"derived_runs": services.lineage.trained_on(subset_id)})


@router.get("/{subset_id}/samples", summary="A subset's samples by page", responses=documented(404))
def list_subset_samples(
    subset_id: SubsetId, services: Uses, limit: Limit = 100, cursor: CursorText = None
) -> SubsetSamples:
    """Ids of the samples."""
    pinned = fingerprint({"subset": subset_id})
    key = decode_cursor(cursor, pinned).key if cursor else 0
    first = max(0, key) if isinstance(key, int) else 0
    ids = services.subsets.sample_ids(subset_id)
    end = first + limit
    return SubsetSamples(items=ids[first:end], next=encode_cursor(Cursor(end, ""), pinned) if end < len(ids) else None)


@router.get(
    "/{subset_id}/export",
    summary="A subset as CSV or Parquet",
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
def export_subset(
    subset_id: SubsetId,
    services: Uses,
    format: Annotated[Literal["csv", "parquet"], Query(description="The file's format.")] = "csv",
) -> StreamingResponse:
    """Streams sample ids in the store's order, with the subset's name, version and run in each row."""
    subset = services.subsets.require(subset_id)
    ids = services.subsets.sample_ids(subset_id)
    columns = {"subset": subset.name, "version": subset.version, "run_id": subset.run_id, "epoch": subset.epoch}
    rows = {"sample_id": ids, **{name: [value] * len(ids) for name, value in columns.items()}}
    batch = pa.RecordBatch.from_pydict(rows)
    is_csv = format == "csv"
    return StreamingResponse(
        in_csv(iter([batch])) if is_csv else in_parquet(iter([batch])),
        media_type=CSV_TYPE if is_csv else PARQUET_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{subset_id}.{format}"'},
    )


@router.delete("/{subset_id}", summary="Delete a subset", responses=documented(404))
def delete_subset(subset_id: SubsetId, services: Uses) -> SubsetDeleted:
    """Deletes a subset. Runs that train on it have copies of their own and go on."""
    services.subsets.delete(subset_id)
    return SubsetDeleted(id=subset_id)
