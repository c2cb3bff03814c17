"""The app: `uvicorn backend.main:create_app --factory`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

import redis
from fastapi import Depends, FastAPI
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from starlette.middleware.cors import CORSMiddleware

from backend import problems
from backend.archive import Archive
from backend.beats import BeatWatch
from backend.dataset_jobs import DatasetJobs
from backend.dependencies import Services
from backend.dispatch import Dispatcher
from backend.event_log import EventLog
from backend.idempotency import Idempotency
from backend.jobs import JobTools
from backend.limits import BodyLimit
from backend.live import Live
from backend.media import MediaAddresses
from backend.openapi import KnownParameters, build_document, operation_id, refuse_unknown_parameters
from backend.reaper import Reaper
from backend.rebuild import Rebuilder
from backend.routes import catalog, compare, datasets, events, export, health, run_tables, runs, samples, scores, system
from backend.run_jobs import RunJobs
from backend.score_jobs import ScoreJobs
from backend.security import MediaSigner, OriginGuard, ui_origins
from backend.stores import Stores
from backend.tables import Tables
from worker.contract.layout import Home
from worker.contract.ledger import Ledger
from worker.contract.settings import Settings, load_settings

PREFIX = "/api/v1"
UPLOAD_PATH = f"{PREFIX}/scores"
CONNECT_S = 1.0
ANSWER_S = 5.0
"""Longest wait for Redis; blocking reads of streams ask for less."""
RETRIES = 2

_CONNECTION: dict[str, Any] = {
    "socket_connect_timeout": CONNECT_S,
    "socket_timeout": ANSWER_S,
    "decode_responses": True,
}

_ROUTERS = (health, catalog, runs, events, samples, run_tables, export, compare, datasets, scores, system)


def build_services(settings: Settings) -> Services:
    """Returns the services of an app: the home made where it is missing, connections opened when first used."""
    home = Home(settings.home.resolve())
    home.create()
    client = redis.Redis.from_url(settings.redis_url, retry=Retry(_backoff(), RETRIES), **_CONNECTION)
    waiting = AsyncRedis.from_url(settings.redis_url, retry=AsyncRetry(_backoff(), RETRIES), **_CONNECTION)
    archive, tables, dispatcher = Archive(home), Tables(home.path), Dispatcher(settings.redis_url)
    ledger, watch, events = Ledger(client), BeatWatch(settings.stale_beat_s), EventLog(home, client)
    live, stores = Live(client, ledger), Stores(home, tables)
    media = MediaAddresses(MediaSigner.of_home(home.path), PREFIX)
    tools = JobTools(ledger, live, home, settings, dispatcher, archive, watch)
    datasets = DatasetJobs(tools, stores)
    runs = RunJobs(tools, datasets)
    return Services(
        settings=settings,
        home=home,
        redis=client,
        waiting_redis=waiting,
        dispatcher=dispatcher,
        watch=watch,
        live=live,
        events=events,
        archive=archive,
        tables=tables,
        stores=stores,
        tools=tools,
        runs=runs,
        datasets=datasets,
        scores=ScoreJobs(tools, runs, events, stores, media),
        media=media,
    )


def _backoff() -> ExponentialBackoff:
    return ExponentialBackoff(cap=0.2, base=0.05)


def _reaper(services: Services) -> Reaper:
    rebuilder = Rebuilder(services.tools, services.runs, services.events)
    return Reaper(services.tools, services.runs, services.scores, rebuilder)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services = app.state.services
    task = asyncio.create_task(_reaper(services).run())
    try:
        yield
    finally:
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
        docs_url="/docs",
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        generate_unique_id_function=operation_id,
        dependencies=[Depends(refuse_unknown_parameters)],
    )
    for module in _ROUTERS:
        app.include_router(module.router, prefix=PREFIX)
    services = build_services(settings)
    app.state.services = services
    app.openapi = lambda: build_document(app)  # type: ignore[method-assign]  # FastAPI's documented way
    app.state.known_parameters = KnownParameters(app.openapi())
    problems.install(app)
    # The last one added is the outermost: CORS answers preflights, then origin, then size, then repeated POSTs.
    app.add_middleware(Idempotency, client=services.waiting_redis)
    app.add_middleware(BodyLimit, settings=settings, upload_path=UPLOAD_PATH)
    app.add_middleware(OriginGuard, settings=settings)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=ui_origins(settings),
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["content-type", "idempotency-key", "range", "last-event-id"],
        expose_headers=["location", "content-range", "accept-ranges"],
    )
    return app
