"""The machine: workers by their beats, queues, Redis, disk, versions, webhooks, and what is wrong."""

from __future__ import annotations

import hashlib
import platform
import shutil
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from redis.exceptions import RedisError

from backend.dependencies import CursorText, Limit, Services, Uses
from backend.disk import accepts_new_work, allocated_bytes
from backend.jobs import now_ms
from backend.limit_uses import limit_uses
from backend.live import queue_positions
from backend.paging import Sort, decode_cursor, encode_cursor, fingerprint, page_of
from worker.contract import keys
from worker.contract.layout import Home, id_folders
from worker.contract.resources import Beat, DamagedFolder, FailedRun, Webhook
from worker.contract.spec.registry import BROKEN_PLUGINS
from worker.contract.upkeep import LimitUse, SweepFacts

router = APIRouter(tags=["system"])
MAX_FAILED = 5
MAX_DAMAGED = 20
RECENT_MS = 86_400_000
_DAMAGED_SORT = Sort.parse("name")
_DAMAGED_PINNED = fingerprint({"list": "damaged-folders"})
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
    num_trashed: int = Field(description="Deleted runs that can be brought back.")
    stores_bytes: int = Field(description="Prepared datasets.")


class System(BaseModel):
    """What runs, and what it runs on."""

    workers: list[Beat] = Field(description="Empty while Redis does not answer.")
    queues: dict[str, int] = Field(description="Queue -> jobs that wait for a worker; empty without Redis.")
    redis: RedisFacts | None = Field(description="null: it does not answer.")
    disk: DiskFacts
    versions: dict[str, str]
    broken_plugins: dict[str, str] = Field(description="Plug-ins that the backend could not load, and why.")
    webhooks: list[Webhook] = Field(description="Who is told when runs end.")
    failed_runs: list[FailedRun] = Field(description="The last five that failed within a day.")
    limits: list[LimitUse] = Field(description="How much of each limit is used; empty while Redis does not answer.")
    sweep: SweepFacts
    damaged_folders: list[DamagedFolder] = Field(
        description="Folders that are set apart, the first 20; GET /system/damaged-folders has all."
    )
    num_damaged_folders: int = Field(0, description="Folders that are set apart, all of them.")


class DamagedFolderPage(BaseModel):
    """A page of folders that are set apart."""

    items: list[DamagedFolder]
    next: str | None = Field(None, description="Cursor of the next page; null at the end.")


class WebhookList(BaseModel):
    """Who is told when runs end."""

    items: list[Webhook]


@router.get("/system", summary="Workers, queues, Redis, disk and versions")
def read_system(services: Uses) -> System:
    """Workers that beat, lengths of the queues, state of Redis and of the disk; without Redis what can be told."""
    return System(
        **_live(services),
        disk=_disk(services),
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        broken_plugins=dict(BROKEN_PLUGINS),
        sweep=services.sweep.facts(),
    )


@router.get("/system/damaged-folders", summary="Folders that are set apart, by page")
def list_damaged_folders(services: Uses, limit: Limit = 100, cursor: CursorText = None) -> DamagedFolderPage:
    """Folders of runs, datasets, scores, batches and subsets that are damaged or none of ours, by kind and name.

    They stay where they are. What was mended is listed again after a restart.
    """
    items, following = page_of(
        services.quarantine.found(),
        key=lambda folder: f"{folder.kind}/{folder.id}".encode("ascii", "replace").decode()[:80],
        row_id=lambda folder: hashlib.sha256(folder.path.encode()).hexdigest()[:16],
        sort=_DAMAGED_SORT,
        after=decode_cursor(cursor, _DAMAGED_PINNED) if cursor else None,
        limit=limit,
    )
    return DamagedFolderPage(items=items, next=encode_cursor(following, _DAMAGED_PINNED) if following else None)


@router.post("/system/webhooks/test", summary="Send a test message to each webhook")
def test_webhooks(services: Uses) -> WebhookList:
    """Sends it now, once, and says what became of it."""
    return WebhookList(items=services.webhooks.test())


def _live(services: Services) -> dict[str, Any]:
    try:
        damaged = services.quarantine.found()
        return {
            "workers": services.live.workers(),
            "queues": _queues(services),
            "redis": RedisFacts.model_validate(services.live.redis_facts()),
            "webhooks": services.webhooks.status(),
            "failed_runs": _failed_runs(services),
            "limits": limit_uses(services.tools, services.slots),
            "damaged_folders": damaged[:MAX_DAMAGED],
            "num_damaged_folders": len(damaged),
        }
    except RedisError:
        empty: dict[str, Any] = {
            name: [] for name in ("workers", "webhooks", "failed_runs", "damaged_folders", "limits")
        }
        return {**empty, "queues": {}, "redis": None}


def _failed_runs(services: Services) -> list[FailedRun]:
    since_ms = now_ms() - RECENT_MS
    failed = [
        entry
        for entry in services.live.index("run")
        if entry.state == "failed" and (entry.finished_ms or 0) >= since_ms
    ]
    failed.sort(key=lambda entry: -(entry.finished_ms or 0))
    records = services.tools.ledger.get_many("run", [entry.id for entry in failed[:MAX_FAILED]])
    return [
        FailedRun(id=record.id, name=record.facts.name or record.id, failed_at=record.finished_at, error=record.error)
        for record in records
        if record.finished_at is not None
    ]


def _queues(services: Services) -> dict[str, int]:
    active = services.tools.ledger.active  # not the messages: a job may have more than one
    lengths = dict.fromkeys(keys.QUEUES.values(), 0)
    for kind, queue in keys.QUEUES.items():
        lengths[queue] += len(queue_positions(active(kind)))
    return lengths


def _disk(services: Services) -> DiskFacts:
    usage = shutil.disk_usage(services.home.path)
    return DiskFacts(
        home=str(services.home.path),
        total_bytes=usage.total,
        free_bytes=usage.free,
        accepts_new_work=accepts_new_work(services.settings),
        trash_bytes=services.archive.trash_bytes(),
        num_trashed=len(services.trash.entries()),
        stores_bytes=_stores_bytes(services.home),
    )


def _stores_bytes(home: Home) -> int:
    try:
        folders = id_folders(home.datasets)
    except OSError:  # it is named among the damaged ones
        return 0
    return sum(allocated_bytes(path / "store") for path in folders)
