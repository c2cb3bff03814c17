"""Tags and notes of people on the clips of a dataset: read, change one or many, count, export."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

import pyarrow as pa
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from backend.access.guard import caller_of
from backend.dependencies import CursorText, DatasetId, Limit, SampleId, Services, Uses
from backend.exporting import CSV_TYPE, PARQUET_TYPE, in_csv, in_parquet
from backend.paging import Cursor, decode_cursor, encode_cursor, fingerprint
from backend.problems import documented, invalid_field
from backend.samples import SampleCondition
from worker.contract.annotations import (
    MAX_TAGS,
    Annotation,
    AnnotationChange,
    AnnotationEdit,
    AnnotationsChanged,
    AnnotationSummary,
    ClipTag,
    Note,
)

router = APIRouter(prefix="/datasets", tags=["datasets"], responses=documented(404))
MOST_AT_ONCE = 100_000
"""Clips that one change may be about."""
ListedId = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class AnnotationPage(BaseModel):
    """A page of annotated clips, by id."""

    items: list[Annotation]
    next: str | None = Field(None, description="Cursor of the next page; null at the end.")


class AnnotationFilter(BaseModel):
    """Which annotated clips."""

    model_config = ConfigDict(extra="forbid")

    tag: ClipTag | None = Field(None, description="Only clips with this tag.")
    limit: Limit = 100
    cursor: CursorText = None


class BulkAnnotation(BaseModel):
    """Tags and a note for many clips: listed, or by a filter of a run's samples."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"anyOf": [{"required": ["filter", "run_id"]}, {"required": ["sample_ids"]}]},
    )

    sample_ids: list[ListedId] | None = Field(
        None, min_length=1, max_length=MOST_AT_ONCE, description="Clips one by one."
    )
    run_id: str | None = Field(None, min_length=1, max_length=64, description="Of the filter; a run on this dataset.")
    filter: SampleCondition | None = Field(
        None, description="As in GET /runs/{id}/samples, its epoch included; in place of a list."
    )
    add_tags: list[ClipTag] = Field(default_factory=list, max_length=MAX_TAGS, description="Tags to add.")
    remove_tags: list[ClipTag] = Field(default_factory=list, max_length=MAX_TAGS, description="Tags to take away.")
    note: Note | None = Field(None, description="The note of each from now on, empty for none; null: notes stay.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.filter is None) == (self.sample_ids is None):
            raise ValueError("exactly one of filter and sample_ids must be given")
        if (self.filter is None) != (self.run_id is None):
            raise ValueError("run_id belongs to filter: give both or none")
        if not self.add_tags and not self.remove_tags and self.note is None:
            raise ValueError("one of add_tags, remove_tags and note must be given")
        if both := set(self.add_tags) & set(self.remove_tags):
            raise ValueError(f"{sorted(both)[0]!r} is to be added and taken away")
        return self


@router.get("/{dataset_id}/annotations", summary="Annotated clips by page")
def list_annotations(
    dataset_id: DatasetId, wanted: Annotated[AnnotationFilter, Query()], services: Uses
) -> AnnotationPage:
    """Clips with tags or a note, by id, with who wrote what when."""
    services.tools.record("dataset", dataset_id)
    pinned = fingerprint({"annotations": dataset_id, "tag": wanted.tag})
    after = decode_cursor(wanted.cursor, pinned).id if wanted.cursor else None
    items, more = services.annotations.page(dataset_id, wanted.tag, after, wanted.limit)
    following = encode_cursor(Cursor(None, items[-1].sample_id), pinned) if more else None
    return AnnotationPage(items=items, next=following)


@router.get("/{dataset_id}/annotations/summary", summary="Tags with their counts")
def read_annotation_summary(dataset_id: DatasetId, services: Uses) -> AnnotationSummary:
    """The tags that clips of the dataset have, the most frequent first."""
    services.tools.record("dataset", dataset_id)
    return services.annotations.summary(dataset_id)


@router.post(
    "/{dataset_id}/annotations",
    summary="Tag or annotate many clips",
    responses=documented(409, 410, 413),
)
def annotate_many(dataset_id: DatasetId, asked: BulkAnnotation, request: Request, services: Uses) -> AnnotationsChanged:
    """Adds and removes tags, or sets the note, of listed clips or of those that pass a filter of a run's samples."""
    services.tools.record("dataset", dataset_id)
    change = AnnotationChange(
        at=datetime.now(UTC),
        by=_who(request),
        sample_ids=_listed(services, dataset_id, asked)
        if asked.filter is None
        else _found(services, dataset_id, asked),
        add_tags=list(dict.fromkeys(asked.add_tags)),
        remove_tags=list(dict.fromkeys(asked.remove_tags)),
        note=asked.note,
    )
    return services.annotations.change(dataset_id, change)


@router.get(
    "/{dataset_id}/annotations/export",
    summary="Annotations as CSV or Parquet",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                CSV_TYPE: {"schema": {"type": "string"}},
                PARQUET_TYPE: {"schema": {"type": "string", "format": "binary"}},
            }
        }
    },
)
def export_annotations(
    dataset_id: DatasetId,
    services: Uses,
    format: Annotated[Literal["csv", "parquet"], Query(description="The file's format.")] = "csv",
) -> StreamingResponse:
    """One row a tag and one a note: sample_id, kind, text, by, at."""
    services.tools.record("dataset", dataset_id)
    batches = _batches(services.annotations.all(dataset_id))
    return StreamingResponse(
        in_csv(batches) if format == "csv" else in_parquet(batches),
        media_type=CSV_TYPE if format == "csv" else PARQUET_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{dataset_id}-annotations.{format}"'},
    )


@router.get("/{dataset_id}/samples/{sample_id:path}/annotations", summary="Tags and note of a clip")
def read_annotation(dataset_id: DatasetId, sample_id: SampleId, services: Uses) -> Annotation:
    """What people said of one clip; nothing is an empty answer."""
    services.stores.clip(dataset_id, sample_id)
    return services.annotations.of(dataset_id, sample_id)


@router.put("/{dataset_id}/samples/{sample_id:path}/annotations", summary="Set tags and note of a clip")
def write_annotation(
    dataset_id: DatasetId, sample_id: SampleId, edit: AnnotationEdit, request: Request, services: Uses
) -> Annotation:
    """Replaces what is said of one clip; a tag that stays keeps who put it there."""
    services.stores.clip(dataset_id, sample_id)
    return services.annotations.replace(
        dataset_id, sample_id, edit.tags, edit.note, by=_who(request), at=datetime.now(UTC)
    )


def _who(request: Request) -> str:
    caller = caller_of(request)
    return caller.name if caller else "nobody"


def _listed(services: Services, dataset_id: str, asked: BulkAnnotation) -> list[str]:
    wanted = list(dict.fromkeys(asked.sample_ids or ()))
    known = services.stores.known(dataset_id, wanted)
    unknown = [sample_id for sample_id in wanted if sample_id not in known]
    if unknown:
        raise invalid_field(
            "sample_ids",
            expected=f"clips of the dataset {dataset_id}",
            got=f"{len(unknown)} others, such as {unknown[0]!r}",
            remedy=f"GET /api/v1/datasets/{dataset_id}/samples lists them.",
            code="annotation-unknown-sample",
        )
    return wanted


def _found(services: Services, dataset_id: str, asked: BulkAnnotation) -> list[str]:
    assert asked.filter is not None
    assert asked.run_id is not None
    run = services.tools.record("run", asked.run_id)
    if run.facts.dataset_id != dataset_id:
        raise invalid_field(
            "run_id",
            expected=f"a run on the dataset {dataset_id}",
            got=f"one on {run.facts.dataset_id}",
            remedy=f"POST to /api/v1/datasets/{run.facts.dataset_id}/annotations.",
        )
    epoch, table = services.archive.table(run.id, asked.filter.epoch, run.epoch)
    source, where = services.queries.query(run, epoch, table, asked.filter)
    sql = f"SELECT sample_id FROM {source.sql} WHERE {where.sql} LIMIT {MOST_AT_ONCE + 1:d}"
    rows = services.tables.rows(sql, (*source.parameters, *where.parameters), source.beside)
    if not 0 < len(rows) <= MOST_AT_ONCE:
        raise invalid_field(
            "filter",
            expected=f"a filter that 1 to {MOST_AT_ONCE:,} clips pass",
            got="more" if rows else "none",
            remedy="Narrow the filter." if rows else "Loosen the filter.",
            code="annotation-too-many" if rows else "annotation-empty",
        )
    return [str(row["sample_id"]) for row in rows]


def _batches(annotations: list[Annotation]) -> Iterator[pa.RecordBatch]:
    rows = [
        (one.sample_id, "tag", tagged.tag, tagged.by, tagged.at.isoformat())
        for one in annotations
        for tagged in one.tags
    ]
    rows += [
        (one.sample_id, "note", one.note, one.note_by or "", one.note_at.isoformat() if one.note_at else "")
        for one in annotations
        if one.note
    ]
    columns = list(zip(*sorted(rows), strict=True)) if rows else [()] * 5
    names = ("sample_id", "kind", "text", "by", "at")
    yield pa.RecordBatch.from_pydict(
        {name: pa.array(list(column), pa.string()) for name, column in zip(names, columns, strict=True)}
    )
