"""A run's events: by number, and as a stream of server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel
from redis.exceptions import RedisError
from sse_starlette import EventSourceResponse, JSONServerSentEvent, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from backend.dependencies import RunId, Services, Uses
from backend.presenting import shown_run
from backend.problems import documented
from backend.run_jobs import require_folder
from worker.contract import keys
from worker.contract.events import Event

router = APIRouter(prefix="/runs", tags=["runs"])
WAIT_MS = 500
HEARTBEAT_S = 10
BATCH = 100
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
        _stream(services, run_id, start), ping=HEARTBEAT_S, sep="\n", headers={"Cache-Control": "no-store"}
    )


async def _stream(services: Services, run_id: str, seq: int) -> AsyncIterator[ServerSentEvent]:
    shown = ""
    while True:
        progress, ended = await _progress(services, run_id)
        lines = await run_in_threadpool(services.events.lines_after, run_id, seq, BATCH)
        for line in lines:
            seq += 1
            yield ServerSentEvent(line.decode(), id=str(seq), event=json.loads(line)["type"])
        if progress is not None and progress != shown:
            shown = progress
            yield JSONServerSentEvent(json.loads(progress), event="progress")
        if not lines:
            if ended:
                return
            await _wait_for_event(services, run_id, seq)


async def _progress(services: Services, run_id: str) -> tuple[str | None, bool]:
    """Returns a run's state and progress as JSON, and whether it has ended; (None, False) while Redis is down."""
    try:
        record = await run_in_threadpool(services.tools.ledger.get, "run", run_id)
        if record is None:
            return None, True
        run = shown_run(services.home, record, services.watch, {})
    except RedisError:
        return None, False
    return json.dumps({"state": run.state, **run.progress.model_dump(mode="json")}), record.ended


async def _wait_for_event(services: Services, run_id: str, seq: int) -> None:
    try:
        await services.waiting_redis.xread({keys.events(run_id): f"{seq}-0"}, count=1, block=WAIT_MS)
    except RedisError:
        await asyncio.sleep(WAIT_MS / 1_000)
