"""Scores of uploaded clips: upload, read, list, the upload's media."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from backend.dependencies import ID_PATTERN, Owner, ScoreId, Services, Uses
from backend.live import IndexEntry
from backend.media import MediaAccess, serve
from backend.paging import Sort, decode_cursor, encode_cursor, fingerprint
from backend.presenting import readable
from backend.problems import documented
from backend.uploads import Incoming
from worker.contract.errors import NotFoundError
from worker.contract.record import ENDED, JobFacts
from worker.contract.scores import MAX_HOP_S, MIN_HOP_S, SampleToScore, Score, ScoreSummary

router = APIRouter(prefix="/scores", tags=["scores"])
LOCATION = "/api/v1/scores/"
POLL_S = 0.05

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "run_id"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "The clip."},
                        "run_id": {"type": "string", "pattern": ID_PATTERN, "description": "Whose model scores it."},
                        "label": {"type": "string", "maxLength": 200, "description": "Its true class, if known."},
                        "window_hop_s": {
                            "type": "number",
                            "minimum": MIN_HOP_S,
                            "maximum": MAX_HOP_S,
                            "description": "Seconds from one window over time to the next; half a window by default.",
                        },
                        "audio_file": {"type": "string", "format": "binary", "description": "Its sound, if apart."},
                    },
                }
            },
            "application/json": {"schema": SampleToScore.model_json_schema()},
        },
    }
}


class ScorePage(BaseModel):
    """A page of scores."""

    items: list[ScoreSummary]
    next: str | None = Field(None, description="Cursor of the next page; null at the end.")


class ScoreDeleted(BaseModel):
    """What deleting a score freed."""

    freed_bytes: int = Field(ge=0, description="Bytes that were freed at once.")


class ScoreFilter(BaseModel):
    """Which scores."""

    model_config = ConfigDict(extra="forbid")

    run_id: str | None = Field(None, pattern=ID_PATTERN, description="Only scores by this run.")
    state: Literal["queued", "running", "cancelling", "cancelled", "finished", "failed"] | None = Field(
        None, description="Only scores in this state."
    )
    limit: int = Field(50, ge=1, le=500, description="Items of a page.")
    cursor: str | None = Field(None, min_length=1, max_length=1_024, description="`next` of the page before.")

    def wants(self, entry: IndexEntry) -> bool:
        """Returns whether a score passes the filter."""
        return self.wants_facts(entry.facts) and self.state in (None, entry.state)

    def wants_facts(self, facts: JobFacts) -> bool:
        """Returns whether a score passes the filter as far as its facts can tell."""
        return self.run_id in (None, facts.run_id)


def _shown(services: Services, score_id: str) -> Score:
    return services.scores.shown(services.tools.record("score", score_id))


@router.post(
    "",
    status_code=202,
    summary="Score a clip",
    openapi_extra=_FORM,
    responses={
        200: {"model": Score, "description": "Done within `wait` seconds"},
        **documented(404, 408, 409, 413, 415, 429, 507),
    },
)
async def create_score(
    request: Request,
    response: Response,
    services: Uses,
    owner: Owner,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for the scores.")] = 0,
) -> Score:
    """Takes a clip in (a form with the file, or JSON that names a dataset's clip), queues it; waits where asked to."""
    score_id = await services.scores.accept(Incoming.of(request), owner=owner)
    score = await run_in_threadpool(_shown, services, score_id)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while score.state not in ENDED and loop.time() < deadline:
        await asyncio.sleep(POLL_S)
        score = await run_in_threadpool(_shown, services, score_id)
    if wait and score.state in ENDED:
        response.status_code = 200
    response.headers["Location"] = LOCATION + score_id
    return score


@router.get("", summary="Scores by page, newest first")
def list_scores(wanted: Annotated[ScoreFilter, Query()], services: Uses) -> ScorePage:
    """Scores that pass the filter, newest first; each in short, `GET /scores/{id}` has probabilities and windows."""
    pinned = fingerprint(wanted.model_dump(exclude={"cursor", "limit"}))
    after = decode_cursor(wanted.cursor, pinned) if wanted.cursor else None
    live, limit = services.live, wanted.limit
    if wanted.state is None:
        records, cursor = live.page_by_age("score", wanted.wants_facts, descending=True, after=after, limit=limit)
    else:
        records, cursor = live.page("score", wanted.wants, Sort("created_at", True), after, limit)
    return ScorePage(
        items=readable(records, services.scores.summary),
        next=encode_cursor(cursor, pinned) if cursor else None,
    )


@router.get("/{score_id}", summary="One score", responses=documented(404))
def read_score(score_id: ScoreId, services: Uses) -> Score:
    """An uploaded clip and, in time, its scores."""
    return _shown(services, score_id)


@router.delete("/{score_id}", summary="Delete a score", responses=documented(404, 409))
def delete_score(score_id: ScoreId, services: Uses) -> ScoreDeleted:
    """Deletes an ended score with the clip that was uploaded for it; frees the space at once."""
    return ScoreDeleted(freed_bytes=services.scores.delete(score_id))


@router.get(
    "/{score_id}/media",
    summary="An uploaded clip's bytes",
    response_class=FileResponse,
    responses={
        200: {"content": {"video/*": {}, "audio/*": {}, "application/octet-stream": {}}},
        206: {"description": "A range of the file", "content": {"video/*": {}, "audio/*": {}}},
        **documented(403, 404, 416),
    },
)
async def read_score_media(
    score_id: ScoreId, access: Annotated[MediaAccess, Query()], request: Request, services: Uses
) -> FileResponse:
    """The uploaded file, or its separate sound file; honours Range. Off loopback the address must be signed.

    A clip that browsers cannot play (FLV, AVI, MPEG-4 part 2) is answered as H.264 and AAC in MP4, made once.
    """
    services.media.check_score(score_id, access.track, access, request)
    await run_in_threadpool(services.tools.record, "score", score_id)
    path = services.scores.media_file(score_id, access.track)
    if path is None:
        raise NotFoundError(f"The score {score_id} has no separate sound file.", code="media-not-found")
    return serve(path if access.original else await services.derivatives.playable(path), request)
