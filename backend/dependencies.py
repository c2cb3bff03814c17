"""What routes work with: one set of services an app, made at start and closed at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import redis
from fastapi import Depends, Path, Query, Request
from redis.asyncio import Redis as AsyncRedis

from backend.archive import Archive
from backend.beats import BeatWatch
from backend.dataset_jobs import DatasetJobs
from backend.dispatch import Dispatcher
from backend.event_log import EventLog
from backend.jobs import JobTools
from backend.live import Live
from backend.media import MediaAddresses
from backend.paging import MAX_CURSOR, MAX_PAGE
from backend.run_jobs import RunJobs
from backend.score_jobs import ScoreJobs
from backend.stores import Stores
from backend.tables import Tables
from worker.contract.layout import Home
from worker.contract.settings import Settings


@dataclass(frozen=True)
class Services:
    """Everything that a route may call."""

    settings: Settings
    home: Home
    redis: redis.Redis
    waiting_redis: AsyncRedis
    """For what waits without a thread: event streams and idempotency keys."""
    dispatcher: Dispatcher
    watch: BeatWatch
    live: Live
    events: EventLog
    archive: Archive
    tables: Tables
    stores: Stores
    tools: JobTools
    runs: RunJobs
    datasets: DatasetJobs
    scores: ScoreJobs
    media: MediaAddresses


async def _services(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


ID_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
SAMPLE_ID_PATTERN = r"^[^\x00-\x1f\x7f]+$"

Uses = Annotated[Services, Depends(_services)]
RunId = Annotated[str, Path(pattern=ID_PATTERN, description="A run's id.")]
DatasetId = Annotated[str, Path(pattern=ID_PATTERN, description="A dataset's id.")]
ScoreId = Annotated[str, Path(pattern=ID_PATTERN, description="A score's id.")]
SampleId = Annotated[
    str, Path(min_length=1, max_length=512, pattern=SAMPLE_ID_PATTERN, description="A sample's id within its dataset.")
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Items of a page.")]
CursorText = Annotated[
    str | None,
    Query(min_length=1, max_length=MAX_CURSOR, description="`next` of the page before, with the same filter and sort."),
]
