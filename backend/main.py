"""The app: `uvicorn backend.main:served_app --factory`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import redis
from fastapi import Depends, FastAPI
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from starlette.middleware.cors import CORSMiddleware

from backend import problems
from backend.access.guard import Access
from backend.access.keys import KeyStore
from backend.access.tickets import Tickets
from backend.annotations import Annotations
from backend.archive import Archive
from backend.batch_jobs import BatchJobs
from backend.beats import BeatWatch
from backend.comparison import Curves
from backend.dataset_jobs import DatasetJobs
from backend.dataset_uploads import DatasetUploads
from backend.dependencies import Services
from backend.derivatives import Derivatives
from backend.dispatch import Dispatcher
from backend.event_log import EventLog
from backend.following import Following
from backend.home_usage import HomeUsage
from backend.idempotency import Idempotency
from backend.jobs import JobTools
from backend.labels import Labels
from backend.limits import BodyLimit
from backend.lineage import Lineage
from backend.live import Live
from backend.media import MediaAddresses
from backend.openapi import AllowedMethods, KnownParameters, build_document, operation_id, refuse_unknown_parameters
from backend.quarantine import Quarantine
from backend.reaper import Reaper
from backend.rebuild import Rebuilder
from backend.routes import (
    access,
    catalog,
    clip_contents,
    compare,
    dataset_clips,
    dataset_uploads,
    datasets,
    docs,
    events,
    export,
    health,
    run_tables,
    runs,
    samples,
    score_batches,
    scores,
    subsets,
    system,
    trash,
)
from backend.routes import annotations as annotation_routes
from backend.run_jobs import RunJobs
from backend.sample_queries import SampleQueries
from backend.score_jobs import ScoreJobs
from backend.security import MediaSigner, OriginGuard
from backend.series import SeriesReader
from backend.store_retention import StoreRetention
from backend.stores import Stores
from backend.subsets import Subsets
from backend.sweep import Sweep
from backend.tables import Tables
from backend.trash import Trash
from backend.upload_slots import UploadSlots
from backend.webhooks import Webhooks
from worker.contract.hosts import own_origins
from worker.contract.layout import Home
from worker.contract.ledger import Ledger
from worker.contract.settings import Settings, load_settings

PREFIX = "/api/v1"
SCORES_PATH, ZIPS_PATH = f"{PREFIX}/scores", f"{PREFIX}/datasets/upload"
CONNECT_S = 1.0
ANSWER_S = 5.0
"""Longest wait for Redis; blocking reads of streams ask for less."""
RETRIES = 2

_CONNECTION: dict[str, Any] = {
    "socket_connect_timeout": CONNECT_S,
    "socket_timeout": ANSWER_S,
    "decode_responses": True,
}

_ROUTERS = (
    health,
    access,
    catalog,
    runs,
    events,
    samples,
    run_tables,
    export,
    compare,
    annotation_routes,
    clip_contents,
    dataset_clips,
    dataset_uploads,
    datasets,
    score_batches,
    scores,
    subsets,
    system,
    trash,
)
"""`/scores/batch` stands before `/scores/{score_id}`, which would take it for an id."""


def build_services(settings: Settings) -> Services:
    """Returns the services of an app: the home made where it is missing, connections opened when first used."""
    home = Home(settings.home.resolve())
    home.create()
    client = redis.Redis.from_url(settings.redis_url, retry=Retry(_backoff(), RETRIES), **_CONNECTION)
    waiting = AsyncRedis.from_url(settings.redis_url, retry=AsyncRetry(_backoff(), RETRIES), **_CONNECTION)
    archive, tables, dispatcher = Archive(home), Tables(home.path), Dispatcher(settings.redis_url)
    ledger, watch, events = Ledger(client), BeatWatch(settings.stale_beat_s), EventLog(home, client)
    live, stores = Live(client, ledger), Stores(home, tables)
    signer, api_keys = MediaSigner.of_home(home.path), KeyStore(home.path)
    media = MediaAddresses(signer, PREFIX)
    tools = JobTools(ledger, live, home, settings, dispatcher, archive, watch, HomeUsage(home, settings))
    slots = UploadSlots(settings)
    datasets = DatasetJobs(tools, stores)
    annotations = Annotations(home)
    queries = SampleQueries(home, archive, tables, stores, annotations)
    saved = Subsets(tools, tables, stores, queries)
    lineage = Lineage(tools, saved, stores)
    runs = RunJobs(tools, datasets, lineage)
    tools.usage.expects(runs.expected_bytes)
    rebuilder = Rebuilder(tools, runs)
    scores, batches = ScoreJobs(tools, runs, events, stores, media, slots), BatchJobs(tools, runs)
    trash, derivatives = Trash(tools, rebuilder), Derivatives(settings)
    return Services(
        settings=settings,
        home=home,
        redis=client,
        waiting_redis=waiting,
        dispatcher=dispatcher,
        watch=watch,
        live=live,
        events=events,
        following=Following(home, ledger, watch, events, waiting),
        archive=archive,
        tables=tables,
        stores=stores,
        tools=tools,
        annotations=annotations,
        queries=queries,
        subsets=saved,
        lineage=lineage,
        runs=runs,
        datasets=datasets,
        uploads=DatasetUploads(tools, datasets, slots),
        slots=slots,
        scores=scores,
        batches=batches,
        quarantine=Quarantine(home, ledger, lambda: live.generation() is not None),
        rebuilder=rebuilder,
        labels=Labels(tools),
        series=SeriesReader(client, events),
        curves=Curves(),
        trash=trash,
        webhooks=Webhooks(settings, client, ledger),
        media=media,
        derivatives=derivatives,
        sweep=Sweep(tools, scores, batches, derivatives, StoreRetention(tools, datasets, saved, trash)),
        signer=signer,
        keys=api_keys,
        tickets=Tickets(signer.key, api_keys),
    )


def _backoff() -> ExponentialBackoff:
    return ExponentialBackoff(cap=0.2, base=0.05)


def _reaper(services: Services) -> Reaper:
    return Reaper(services.tools, services.runs, services.rebuilder, services.labels)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services = app.state.services
    loops = (_reaper(services).run(), services.sweep.run(), services.webhooks.run(), services.quarantine.run())
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await services.waiting_redis.aclose()
        services.redis.close()
        services.dispatcher.close()
        services.tables.close()


def create_app(settings: Settings | None = None) -> FastAPI:
    """Returns the app.

    Args:
        settings: by default those of the environment.
    """
    settings = settings or load_settings()
    app = FastAPI(
        title="Gapscope",
        version=version("gapscope"),
        lifespan=_lifespan,
        docs_url=None,  # routes.docs brings one that needs no internet
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        generate_unique_id_function=operation_id,
        dependencies=[Depends(refuse_unknown_parameters)],
    )
    for module in _ROUTERS:
        app.include_router(module.router, prefix=PREFIX)
    docs.install(app)
    services = build_services(settings)
    app.state.services = services
    app.openapi = lambda: build_document(app)  # type: ignore[method-assign]  # FastAPI's documented way
    app.state.known_parameters = KnownParameters(app.openapi())
    app.state.allowed_methods = AllowedMethods(app.openapi())
    problems.install(app)
    # The last one added is the outermost: CORS answers preflights, then origin, keys, size and repeated POSTs.
    app.add_middleware(Idempotency, client=services.waiting_redis)
    uploads = {SCORES_PATH: settings.max_upload_bytes, ZIPS_PATH: settings.max_zip_bytes}
    app.add_middleware(BodyLimit, settings=settings, uploads=uploads)
    app.add_middleware(
        Access,
        settings=settings,
        prefix=PREFIX,
        keys=services.keys,
        tickets=services.tickets,
        signer=services.signer,
    )
    app.add_middleware(OriginGuard, settings=settings)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=own_origins(settings.ui_origin),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["content-type", "idempotency-key", "range", "last-event-id"],
        expose_headers=["location", "content-range", "accept-ranges", "retry-after"],
    )
    return app


def served_app() -> FastAPI:
    """Returns the app of a process that does nothing else.

    Arrow's own memory pool keeps some for each of forty threads, 350 MiB in all; the system's does not. And what was
    loaded by now stays: the garbage collector would look through it again and again, and each time everybody waits for
    a tenth of a second.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    app = create_app()
    gc.collect()
    gc.freeze()
    return app
