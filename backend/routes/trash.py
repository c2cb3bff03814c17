"""The trash: deleted runs that can still be brought back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from backend.dependencies import CursorText, Limit, RunId, Uses
from backend.paging import Sort, decode_cursor, encode_cursor, fingerprint, page_of
from backend.problems import documented
from worker.contract.resources import TrashedRun

router = APIRouter(prefix="/trash", tags=["trash"])
_SORT = Sort.parse("-deleted_at")
_PINNED = fingerprint({"list": "trash"})


class TrashPage(BaseModel):
    """A page of deleted runs."""

    items: list[TrashedRun]
    next: str | None = Field(None, description="Cursor of the next page; null at the end.")


class Freed(BaseModel):
    """What deleting for good gave."""

    freed_bytes: int


@router.get("", summary="Deleted runs by page")
def list_trash(services: Uses, limit: Limit = 50, cursor: CursorText = None) -> TrashPage:
    """Runs that POST /runs/{run_id}/restore brings back, the last deleted first."""
    entries, following = page_of(
        services.trash.entries(),
        key=lambda entry: entry.deleted_ms,
        row_id=lambda entry: entry.run_id,
        sort=_SORT,
        after=decode_cursor(cursor, _PINNED) if cursor else None,
        limit=limit,
    )
    return TrashPage(
        items=[services.trash.shown(entry) for entry in entries],
        next=encode_cursor(following, _PINNED) if following else None,
    )


@router.delete("/{run_id}", summary="Delete a run for good", responses=documented(404))
def purge_run(run_id: RunId, services: Uses) -> Freed:
    """Frees the space of a deleted run; it cannot be brought back."""
    return Freed(freed_bytes=services.trash.purge(run_id))


@router.delete("", summary="Empty the trash")
def empty_trash(
    services: Uses,
    confirm: Annotated[bool, Query(description="Must be true: nothing in the trash can be brought back then.")],
) -> Freed:
    """Frees the space of all deleted runs, where `confirm` is true."""
    return Freed(freed_bytes=services.trash.empty() if confirm else 0)
