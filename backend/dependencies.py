"""What routes work with: one set of services an app, made at start and closed at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import redis
from fastapi import Depends, Path, Query, Request
from redis.asyncio import Redis as AsyncRedis

from backend.access.guard import caller_of
from backend.access.keys import KeyStore
from backend.access.tickets import Tickets
from backend.annotations import Annotations
from backend.archive import Archive
from backend.batch_jobs import BatchJobs
from backend.beats import BeatWatch
from backend.comparison import Curves
from backend.dataset_jobs import DatasetJobs
from backend.dataset_uploads import DatasetUploads
from backend.derivatives import Derivatives
from backend.dispatch import Dispatcher
from backend.event_log import EventLog
from backend.following import Following
from backend.jobs import JobTools
from backend.labels import Labels
from backend.lineage import Lineage
from backend.live import Live
from backend.media import MediaAddresses
from backend.paging import MAX_CURSOR, MAX_PAGE
from backend.places import LOCAL_USER
from backend.quarantine import Quarantine
from backend.rebuild import Rebuilder
from backend.run_jobs import RunJobs
from backend.sample_queries import SampleQueries
from backend.score_jobs import ScoreJobs
from backend.security import MediaSigner
from backend.series import SeriesReader
from backend.stores import Stores
from backend.subsets import Subsets
from backend.sweep import Sweep
from backend.tables import Tables
from backend.trash import Trash
from backend.upload_slots import UploadSlots
from backend.webhooks import Webhooks
from worker.contract.layout import Home
from worker.contract.settings import Settings


@dataclass(frozen=True)
class Services:
    """Everything that a route may call."""

    settings: Settings
    home: Home
    redis: redis.Redis
    waiting_redis: AsyncRedis
    """For what waits without a thread: followed runs and idempotency keys."""
    dispatcher: Dispatcher
    watch: BeatWatch
    live: Live
    events: EventLog
    following: Following
    archive: Archive
    tables: Tables
    stores: Stores
    tools: JobTools
    annotations: Annotations
    queries: SampleQueries
    subsets: Subsets
    lineage: Lineage
    runs: RunJobs
    datasets: DatasetJobs
    uploads: DatasetUploads
    slots: UploadSlots
    scores: ScoreJobs
    batches: BatchJobs
    quarantine: Quarantine
    rebuilder: Rebuilder
    labels: Labels
    series: SeriesReader
    curves: Curves
    trash: Trash
    webhooks: Webhooks
    media: MediaAddresses
    derivatives: Derivatives
    sweep: Sweep
    signer: MediaSigner
    keys: KeyStore
    tickets: Tickets


async def _services(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


ID_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
SAMPLE_ID_PATTERN = r"^[^\x00-\x1f\x7f]+$"


async def _owner(request: Request) -> str:
    caller = caller_of(request)
    return caller.name if caller else LOCAL_USER


Uses = Annotated[Services, Depends(_services)]
Owner = Annotated[str, Depends(_owner)]
"""Who sends a request, as the audit log names them."""
RunId = Annotated[str, Path(pattern=ID_PATTERN, description="A run's id.")]
DatasetId = Annotated[str, Path(pattern=ID_PATTERN, description="A dataset's id.")]
ScoreId = Annotated[str, Path(pattern=ID_PATTERN, description="A score's id.")]
SubsetId = Annotated[str, Path(pattern=ID_PATTERN, description="A subset's id.")]
SampleId = Annotated[
    str, Path(min_length=1, max_length=512, pattern=SAMPLE_ID_PATTERN, description="A sample's id within its dataset.")
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Items of a page.")]
CursorText = Annotated[
    str | None,
    Query(min_length=1, max_length=MAX_CURSOR, description="`next` of the page before, with the same filter and sort."),
]
