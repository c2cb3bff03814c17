"""The clips of a dataset: by page with filters, as files, what was left out, and their media."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pyarrow as pa
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from backend.access.roots import require_still_open
from backend.dependencies import CursorText, DatasetId, Limit, SampleId, Uses
from backend.exporting import CSV_TYPE, PARQUET_TYPE, in_csv, in_parquet
from backend.media import MediaAccess, serve
from backend.paging import Cursor, decode_cursor, encode_cursor, fingerprint
from backend.problems import documented
from backend.samples import Split
from backend.tables import Where
from worker.contract.errors import NotFoundError
from worker.contract.quality import FLAGS
from worker.contract.resources import DatasetSample, SkippedClip

router = APIRouter(prefix="/datasets", tags=["datasets"])
FlagName = Literal["silent", "clipped", "black", "frozen", "mismatched"]
FileFormat = Annotated[Literal["csv", "parquet"], Query(description="The file's format.")]
MOST_IDS = 50
_THRESHOLDS = {flag.name: flag for flag in FLAGS}
_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            CSV_TYPE: {"schema": {"type": "string"}},
            PARQUET_TYPE: {"schema": {"type": "string", "format": "binary"}},
        }
    }
}


class SkippedPage(BaseModel):
    """A page of skipped clips."""

    items: list[SkippedClip]
    next: str | None = None


class ClipPage(BaseModel):
    """A page of a dataset's clips, in the store's order."""

    items: list[DatasetSample]
    next: str | None = None


class NoteCounts(BaseModel):
    """Notes that came with a dataset: of its manifest, or of what was planted in it."""

    notes: dict[str, dict[str, int]] = Field(description="name -> value -> clips")


class ClipCondition(BaseModel):
    """Which clips of a dataset."""

    model_config = ConfigDict(extra="forbid")

    split: Split | None = Field(None, description="Only clips of this split.")
    label: str | None = Field(None, min_length=1, max_length=200, description="Only clips of this class.")
    flag: FlagName | None = Field(None, description="Only clips with this fault.")
    ids: list[str] = Field(default_factory=list, max_length=MOST_IDS, description="Only these clips.")

    def where(self, *, is_measured: bool) -> Where:
        """Returns the condition on the table of clips; clips without measures have no fault."""
        where = Where()
        if self.split is not None:
            where = where.add("split = ?", self.split)
        if self.label is not None:
            where = where.add("label = ?", self.label)
        if self.flag is not None:
            flag = _THRESHOLDS[self.flag]
            where = where.add(f"{flag.metric} >= ?::FLOAT", flag.at_least) if is_measured else where.add("false")
        if self.ids:
            where = where.add(f"sample_id IN ({', '.join('?' * len(self.ids))})", *self.ids)
        return where


class ClipFilter(ClipCondition):
    """Which page of which clips."""

    limit: Limit = 50
    cursor: CursorText = None


class ClipExport(ClipCondition):
    """Which clips in which format."""

    format: Literal["csv", "parquet"] = Field("csv", description="The file's format.")


@router.get("/{dataset_id}/samples", summary="A dataset's clips by page", responses=documented(404))
def list_clips(dataset_id: DatasetId, wanted: Annotated[ClipFilter, Query()], services: Uses) -> ClipPage:
    """Prepared clips with their labels, measures, notes and media addresses."""
    services.tools.record("dataset", dataset_id)
    pinned = fingerprint({"clips": dataset_id, **wanted.model_dump(exclude={"cursor", "limit"})})
    after = decode_cursor(wanted.cursor, pinned) if wanted.cursor else None
    where = wanted.where(is_measured=services.stores.is_measured(dataset_id))
    clips, following = services.stores.page(dataset_id, where, after, wanted.limit)
    items = [clip.sample.model_copy(update={"media": services.media.of_clip(dataset_id, clip)}) for clip in clips]
    return ClipPage(items=items, next=encode_cursor(following, pinned) if following else None)


@router.get(
    "/{dataset_id}/export",
    summary="A dataset's clips with their measures, as CSV or Parquet",
    response_class=StreamingResponse,
    responses={**_FILES, **documented(404)},
)
def export_clips(dataset_id: DatasetId, wanted: Annotated[ClipExport, Query()], services: Uses) -> StreamingResponse:
    """Streams the table of clips, from which every number of the dataset's page can be counted again."""
    services.tools.record("dataset", dataset_id)
    where = wanted.where(is_measured=services.stores.is_measured(dataset_id))
    return _file(services.stores.batches(dataset_id, where), f"{dataset_id}-clips", wanted.format)


@router.get(
    "/{dataset_id}/skipped/export",
    summary="Clips that were left out, as CSV or Parquet",
    response_class=StreamingResponse,
    responses={**_FILES, **documented(404)},
)
def export_skipped(dataset_id: DatasetId, services: Uses, format: FileFormat = "csv") -> StreamingResponse:
    """Streams all clips that were left out, with code and reason."""
    services.tools.record("dataset", dataset_id)
    services.stores.require(dataset_id)
    return _file(services.stores.skipped_batches(dataset_id), f"{dataset_id}-left-out", format)


def _file(batches: Iterator[pa.RecordBatch], name: str, kind: Literal["csv", "parquet"]) -> StreamingResponse:
    return StreamingResponse(
        in_csv(batches) if kind == "csv" else in_parquet(batches),
        media_type=CSV_TYPE if kind == "csv" else PARQUET_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{name}.{kind}"'},
    )


@router.get("/{dataset_id}/notes", summary="The dataset's own notes on its clips", responses=documented(404))
def read_notes(dataset_id: DatasetId, services: Uses) -> NoteCounts:
    """Names and values of notes, such as which modality is corrupted, each with its clips; at most 20 values a name."""
    services.tools.record("dataset", dataset_id)
    return NoteCounts(notes=services.stores.notes(dataset_id))


@router.get("/{dataset_id}/skipped", summary="Clips that were left out, and why", responses=documented(404))
def list_skipped(dataset_id: DatasetId, services: Uses, limit: Limit = 100, cursor: CursorText = None) -> SkippedPage:
    """Clips that preparation left out, with code and reason."""
    services.tools.record("dataset", dataset_id)
    pinned = fingerprint({"skipped": dataset_id})
    after = decode_cursor(cursor, pinned).key if cursor else 0
    items, place = services.stores.skipped(dataset_id, after if isinstance(after, int) else 0, limit)
    return SkippedPage(items=items, next=encode_cursor(Cursor(place, ""), pinned) if place is not None else None)


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
async def read_clip_media(
    dataset_id: DatasetId,
    sample_id: SampleId,
    access: Annotated[MediaAccess, Query()],
    request: Request,
    services: Uses,
) -> FileResponse:
    """The clip's file, or its separate sound file; honours Range. Off loopback the address must be signed.

    A clip that browsers cannot play (FLV, AVI, MPEG-4 part 2) is answered as H.264 and AAC in MP4, made once.
    """
    services.media.check_clip(dataset_id, sample_id, access.track, access, request)
    clip = await run_in_threadpool(services.stores.clip, dataset_id, sample_id)
    path = clip.video if access.track == "video" else clip.audio
    if path is None:
        raise NotFoundError(f"The sample {sample_id!r} has no separate sound file.", code="media-not-found")
    require_still_open(services.settings, path, services.home.dataset(dataset_id).clips)
    return serve(path if access.original else await services.derivatives.playable(path), request)
