"""A run's events: by number, and as a stream of server-sent events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from backend.dependencies import RunId, Uses
from backend.following import SEPARATOR
from backend.problems import documented
from backend.run_jobs import require_folder
from worker.contract.events import Event

router = APIRouter(prefix="/runs", tags=["runs"])
HEARTBEAT_S = 10
MAX_SEQ = 2**53


class EventPage(BaseModel):
    """Events in order; the cursor is the `after` of the next request."""

    events: list[Event]
    cursor: str


After = Annotated[int, Query(ge=0, le=MAX_SEQ, description="Number of the last event that you have; 0 for all.")]


@router.get("/{run_id}/events", summary="Events after a number", response_model=EventPage, responses=documented(404))
def list_events(
    run_id: RunId, services: Uses, after: After = 0, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> Response:
    """Events numbered above `after`, in order; an empty list means nothing new."""
    require_folder(services.tools, run_id)
    lines = services.events.lines_after(run_id, after, limit)
    cursor = after + len(lines)
    # Events are JSON already and never change: they go out as they lie on the disk.
    body = b'{"events":[' + b",".join(lines) + b'],"cursor":"' + str(cursor).encode() + b'"}'
    return Response(body, media_type="application/json")


@router.get(
    "/{run_id}/events/stream",
    summary="Events as they happen (SSE)",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **documented(404)},
)
async def stream_events(
    run_id: RunId,
    services: Uses,
    after: After = 0,
    last_event_id: Annotated[str | None, Header(pattern=r"^[0-9]{1,15}$", description="Wins over `after`.")] = None,
) -> EventSourceResponse:
    """Each event with its number as id; between them `progress` without id; ends when the run has ended."""
    await run_in_threadpool(require_folder, services.tools, run_id)
    start = int(last_event_id) if last_event_id is not None else after
    return EventSourceResponse(
        services.following.follow(run_id, start),
        ping=HEARTBEAT_S,
        sep=SEPARATOR,
        headers={"Cache-Control": "no-store"},
    )
