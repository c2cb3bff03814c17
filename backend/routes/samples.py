"""Samples of a run by page, and one sample over all epochs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from backend.dependencies import RunId, SampleId, Services, Uses
from backend.paging import Cursor, Sort, decode_cursor, encode_cursor, fingerprint
from backend.problems import documented
from backend.samples import (
    SampleCondition,
    SampleDocument,
    SamplePage,
    SampleSort,
    Trajectory,
    rows_over_epochs,
    sample_row,
)
from backend.stores import ClipRow
from worker.contract.errors import NotFoundError
from worker.contract.record import JobRecord

router = APIRouter(prefix="/runs", tags=["samples"])


class SampleFilter(SampleCondition):
    """Which samples, in which order."""

    sort: SampleSort = Field("-gap", description="What to sort by; a leading - for descending. Rows without it last.")
    limit: int = Field(50, ge=1, le=500, description="Items of a page.")
    cursor: str | None = Field(None, min_length=1, max_length=1_024, description="`next` of the page before.")


@router.get("/{run_id}/samples", summary="Samples by page", responses=documented(404, 410))
def list_samples(run_id: RunId, wanted: Annotated[SampleFilter, Query()], services: Uses) -> SamplePage:
    """Samples of one epoch that pass the filter. The cursor pins filter, sort and epoch."""
    record = services.tools.record("run", run_id)
    pinned = fingerprint({"run": run_id, **wanted.model_dump(exclude={"cursor", "limit"})})
    after = decode_cursor(wanted.cursor, pinned) if wanted.cursor else None
    chosen = after.epoch if after is not None else wanted.epoch
    epoch, table = services.archive.table(run_id, chosen, record.epoch)
    sort = Sort.parse(wanted.sort)
    source, where = services.queries.query(record, epoch, table, wanted, sort.field)
    rows, cursor, total = services.tables.sample_page(source, where, sort, after, wanted.limit)
    ids = [row["sample_id"] for row in rows]
    clips = services.stores.clips(record.facts.dataset_id, ids)
    tags = services.annotations.tags_of(record.facts.dataset_id, ids)
    return SamplePage(
        items=[sample_row(row, epoch, clips.get(one), tags.get(one, ())) for one, row in zip(ids, rows, strict=True)],
        next=encode_cursor(Cursor(cursor.key, cursor.id, epoch), pinned) if cursor else None,
        epoch=epoch,
        total=total,
    )


@router.get("/{run_id}/samples/{sample_id:path}", summary="One sample over all epochs", responses=documented(404))
def read_sample(
    run_id: RunId,
    sample_id: SampleId,
    services: Uses,
    last: Annotated[int, Query(ge=1, le=1_000, description="Rows of at most so many of the newest epochs.")] = 50,
    epoch: Annotated[
        int | None,
        Query(ge=1, le=10_000, description="Rows of the epochs around this one instead, where it is not among those."),
    ] = None,
) -> SampleDocument:
    """One sample: its rows, its gap and posterior over all finished epochs, the addresses of its media."""
    record = services.tools.record("run", run_id)
    newest, _ = services.archive.table(run_id, None, record.epoch)
    folder = services.home.run(run_id)
    paths = {number: folder.sample_table(number) for number in _epochs(newest, last, epoch)}
    paths = {number: path for number, path in paths.items() if path.exists()}
    paths = paths or {newest: folder.sample_table(newest)}  # older tables may be thinned out
    clip = services.stores.find(record.facts.dataset_id, sample_id)
    guesses = services.queries.rows_of(record, [paths[min(paths)], paths[max(paths)]], clip.index) if clip else []
    found = rows_over_epochs(services.tables, paths, sample_id, guesses)
    if not found:
        raise NotFoundError(f"Run {run_id} has no sample {sample_id!r}.", code="sample-not-found")
    annotation = services.annotations.of(record.facts.dataset_id, sample_id)
    tags = [one.tag for one in annotation.tags]
    return SampleDocument(
        sample_id=sample_id,
        run_id=run_id,
        dataset_id=record.facts.dataset_id,
        split=found[-1][1]["split"],
        label=found[-1][1]["label"],
        duration_s=clip.sample.duration_s if clip else None,
        quality=clip.quality if clip else {},
        notes=clip.sample.notes if clip else {},
        rows=[sample_row(row, epoch, clip, tags) for epoch, row in found],
        annotation=annotation,
        trajectory=_trajectory(services, record, clip, newest),
        media=services.media.of_clip(record.facts.dataset_id, clip) if clip else {},
    )


def _epochs(newest: int, last: int, wanted: int | None) -> range:
    """Returns the newest epochs, or as many around one that is older."""
    until = newest if wanted is None or wanted > newest - last else min(newest, max(last, wanted + last // 2))
    return range(max(1, until - last + 1), until + 1)


def _trajectory(services: Services, record: JobRecord, clip: ClipRow | None, epochs: int) -> Trajectory:
    facts = services.stores.facts(record.facts.dataset_id)
    numbers = list(range(1, epochs + 1))
    if clip is None or facts is None:
        return Trajectory(epochs=numbers, gap=[None] * epochs, posterior_imbalanced=[None] * epochs)
    gaps, posteriors = services.archive.trajectory(record.id, clip.index, facts.num_samples, epochs)
    return Trajectory(epochs=numbers, gap=gaps, posterior_imbalanced=posteriors)
