"""The machine: workers by their beats, queues, Redis, disk, versions."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import version

from fastapi import APIRouter
from pydantic import BaseModel, Field

from backend.dependencies import Services, Uses
from backend.disk import accepts_new_work
from backend.live import queue_positions
from worker.contract import keys
from worker.contract.resources import Beat

router = APIRouter(tags=["system"])
_PACKAGES = ("gapscope", "fastapi", "celery", "redis", "duckdb", "pyarrow")


class RedisFacts(BaseModel):
    """The Redis or Valkey server."""

    server: str = Field(description="valkey or redis.")
    version: str
    used_memory_bytes: int
    max_memory_bytes: int = Field(description="0: no limit.")
    eviction_policy: str = Field(description="noeviction, or jobs may be lost.")


class DiskFacts(BaseModel):
    """The file system of the home."""

    home: str
    total_bytes: int
    free_bytes: int
    accepts_new_work: bool
    trash_bytes: int


class System(BaseModel):
    """What runs, and what it runs on."""

    workers: list[Beat]
    queues: dict[str, int] = Field(description="Queue -> jobs that wait for a worker.")
    redis: RedisFacts
    disk: DiskFacts
    versions: dict[str, str]


@router.get("/system", summary="Workers, queues, Redis, disk and versions")
def read_system(services: Uses) -> System:
    """Workers that beat, lengths of the queues, state of Redis and of the disk."""
    return System(
        workers=services.live.workers(),
        queues=_queues(services),
        redis=RedisFacts.model_validate(services.live.redis_facts()),
        disk=_disk(services),
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    )


def _queues(services: Services) -> dict[str, int]:
    active = services.tools.ledger.active  # not the messages: a job may have more than one
    return {queue: len(queue_positions(active(kind))) for kind, queue in keys.QUEUES.items()}


def _disk(services: Services) -> DiskFacts:
    usage = shutil.disk_usage(services.home.path)
    return DiskFacts(
        home=str(services.home.path),
        total_bytes=usage.total,
        free_bytes=usage.free,
        accepts_new_work=accepts_new_work(services.settings),
        trash_bytes=services.archive.trash_bytes(),
    )
