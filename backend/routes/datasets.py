"""Datasets: register, list, read, cancel, what was skipped, clips and their media."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from backend.dependencies import CursorText, DatasetId, Limit, SampleId, Services, Uses
from backend.live import IndexEntry
from backend.media import MediaAccess, serve
from backend.paging import Cursor, Sort, decode_cursor, encode_cursor, fingerprint
from backend.presenting import readable, shown_dataset
from backend.problems import documented, invalid
from backend.samples import Split
from worker.contract.errors import NotFoundError
from worker.contract.resources import Dataset, DatasetSample, DatasetState, SkippedClip
from worker.contract.spec import DATASET_ID_PATTERN
from worker.contract.spec.datasets import DatasetSpec
from worker.contract.spec.registry import DATASETS, OneOf

router = APIRouter(prefix="/datasets", tags=["datasets"])
LOCATION = "/api/v1/datasets/"

DatasetSort = Literal["created_at", "name", "state", "-created_at", "-name", "-state"]
_SHOWN_AS = {"running": "preparing", "cancelling": "preparing", "finished": "ready"}


def _request_of(spec: type[DatasetSpec]) -> type[DatasetSpec]:
    chosen = Field(None, pattern=DATASET_ID_PATTERN, description="The id to register under; empty: made from the spec.")
    return create_model(f"{spec.__name__}Request", __base__=spec, __doc__=spec.__doc__, id=(str | None, chosen))


REQUESTS: dict[str, type[DatasetSpec]] = {kind: _request_of(spec) for kind, spec in DATASETS.items()}
DatasetRequest = Annotated[DatasetSpec, OneOf(REQUESTS)]


class DatasetPage(BaseModel):
    """A page of datasets."""

    items: list[Dataset]
    next: str | None = Field(None, description="Cursor of the next page; null at the end.")


class SkippedPage(BaseModel):
    """A page of skipped clips."""

    items: list[SkippedClip]
    next: str | None = None


class ClipPage(BaseModel):
    """A page of a dataset's clips, in the store's order."""

    items: list[DatasetSample]
    next: str | None = None


class DatasetFilter(BaseModel):
    """Which datasets, in which order."""

    model_config = ConfigDict(extra="forbid")

    state: DatasetState | None = Field(None, description="Only datasets in this state.")
    kind: str | None = Field(None, min_length=1, max_length=64, description="Only datasets of this kind.")
    sort: DatasetSort = Field("-created_at", description="What to sort by; a leading - for descending.")
    limit: int = Field(50, ge=1, le=500, description="Items of a page.")
    cursor: str | None = Field(None, min_length=1, max_length=1_024, description="`next` of the page before.")

    def wants(self, entry: IndexEntry) -> bool:
        """Returns whether a dataset passes the filter."""
        state = _SHOWN_AS.get(entry.state, entry.state)
        return (self.state is None or state == self.state) and (
            self.kind is None or entry.facts.dataset_kind == self.kind
        )


def _shown(services: Services, dataset_id: str) -> Dataset:
    return shown_dataset(services.home, services.stores, services.tools.record("dataset", dataset_id))


async def dataset_fields(
    body: Annotated[
        DatasetRequest, Body(openapi_examples={"folder": {"value": {"kind": "folder", "path": "/data/clips"}}})
    ],
    request: Request,
) -> dict[str, Any]:
    """Returns the fields as they came, with the kind: the document's model would take true for 1."""
    return {"kind": body.kind} | dict(await request.json())


@router.post("", status_code=202, summary="Register and prepare a dataset", responses=documented(409, 413, 429, 507))
def create_dataset(
    fields: Annotated[dict[str, Any], Depends(dataset_fields)], services: Uses, response: Response
) -> Dataset:
    """Registers a dataset and queues its preparation; the same spec again is the same dataset."""
    dataset_id = fields.pop("id", None)
    try:
        spec = DATASETS[fields["kind"]].model_validate_json(json.dumps(fields), strict=True)
    except ValidationError as error:
        raise invalid(error) from None
    record = services.datasets.register(spec, dataset_id)
    response.headers["Location"] = LOCATION + record.id
    return _shown(services, record.id)


@router.get("", summary="Datasets by page")
def list_datasets(wanted: Annotated[DatasetFilter, Query()], services: Uses) -> DatasetPage:
    """Registered datasets that pass the filter."""
    pinned = fingerprint(wanted.model_dump(exclude={"cursor", "limit"}))
    after = decode_cursor(wanted.cursor, pinned) if wanted.cursor else None
    records, cursor = services.live.page("dataset", wanted.wants, Sort.parse(wanted.sort), after, wanted.limit)
    return DatasetPage(
        items=readable(records, lambda record: shown_dataset(services.home, services.stores, record)),
        next=encode_cursor(cursor, pinned) if cursor else None,
    )


@router.get("/{dataset_id}", summary="One dataset", responses=documented(404))
def read_dataset(dataset_id: DatasetId, services: Uses) -> Dataset:
    """A dataset with the progress of its preparation, its splits, class counts and the first skipped clips."""
    return _shown(services, dataset_id)


@router.post("/{dataset_id}/cancel", status_code=202, summary="Cancel a preparation", responses=documented(404, 409))
def cancel_dataset(dataset_id: DatasetId, services: Uses, response: Response) -> Dataset:
    """Asks a preparation to end. Posting the same dataset again takes it up where it stopped."""
    services.datasets.cancel(dataset_id)
    response.headers["Location"] = LOCATION + dataset_id
    return _shown(services, dataset_id)


@router.get("/{dataset_id}/skipped", summary="Clips that were left out, and why", responses=documented(404))
def list_skipped(dataset_id: DatasetId, services: Uses, limit: Limit = 100, cursor: CursorText = None) -> SkippedPage:
    """Clips that preparation left out, with code and reason."""
    services.tools.record("dataset", dataset_id)
    pinned = fingerprint({"skipped": dataset_id})
    after = decode_cursor(cursor, pinned).key if cursor else 0
    items, place = services.stores.skipped(dataset_id, after if isinstance(after, int) else 0, limit)
    return SkippedPage(items=items, next=encode_cursor(Cursor(place, ""), pinned) if place is not None else None)


@router.get("/{dataset_id}/samples", summary="A dataset's clips by page", responses=documented(404))
def list_clips(
    dataset_id: DatasetId,
    services: Uses,
    split: Annotated[Split | None, Query(description="Only clips of this split.")] = None,
    label: Annotated[str | None, Query(min_length=1, max_length=200, description="Only clips of this class.")] = None,
    limit: Limit = 50,
    cursor: CursorText = None,
) -> ClipPage:
    """Prepared clips with their labels, notes and media addresses."""
    services.tools.record("dataset", dataset_id)
    pinned = fingerprint({"clips": dataset_id, "split": split, "label": label})
    after = decode_cursor(cursor, pinned) if cursor else None
    clips, following = services.stores.page(dataset_id, split, label, after, limit)
    items = [clip.sample.model_copy(update={"media": services.media.of_clip(dataset_id, clip)}) for clip in clips]
    return ClipPage(items=items, next=encode_cursor(following, pinned) if following else None)


@router.get(
    "/{dataset_id}/samples/{sample_id:path}/media",
    summary="A clip's bytes",
    response_class=FileResponse,
    responses={
        200: {"content": {"video/*": {}, "audio/*": {}, "application/octet-stream": {}}},
        206: {"description": "A range of the file", "content": {"video/*": {}, "audio/*": {}}},
        **documented(403, 404, 416),
    },
)
def read_clip_media(
    dataset_id: DatasetId,
    sample_id: SampleId,
    access: Annotated[MediaAccess, Query()],
    request: Request,
    services: Uses,
) -> FileResponse:
    """The clip's file, or its separate sound file; honours Range. Off loopback the address must be signed."""
    services.media.check_clip(dataset_id, sample_id, access.track, access, request)
    clip = services.stores.clip(dataset_id, sample_id)
    path = clip.video if access.track == "video" else clip.audio
    if path is None:
        raise NotFoundError(f"The sample {sample_id!r} has no separate sound file.", code="media-not-found")
    return serve(path, request)
