"""The worker's own sign of life: a key in Redis that expires, written each second by a thread of the main process.

It must work without torch (that is for pool processes) and without Celery's remote control.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import redis

from worker.contract import keys
from worker.contract.resources import Beat
from worker.contract.settings import Settings
from worker.runtime.gpu_memory import gpu_memory_bytes
from worker.runtime.redis_client import connect

log = logging.getLogger(__name__)
EVERY_S = 1.0
EXPIRES_MS = 10_000
MEASURED_EVERY_S = 5.0
PACKAGES = ("gapscope", "torch", "celery")


class WorkerBeat:
    """Beats until stopped."""

    def __init__(self, settings: Settings, name: str, queue: str, busy_with: Callable[[], str | None]) -> None:
        self._settings = settings
        self._busy_with = busy_with
        self._stopped = threading.Event()
        self._process = psutil.Process()
        self._measured_at = float("-inf")
        names = device_names(settings.devices)
        self._beat = Beat(
            name=name,
            queue=queue,
            pid=os.getpid(),
            host=socket.gethostname(),
            devices=names,
            device_memory_bytes=None if names == ["cpu"] else gpu_memory_bytes(settings.devices),
            resident_bytes=0,
            started_at=datetime.now(UTC),
            versions={"python": platform.python_version(), **_versions()},
        )
        self._thread = threading.Thread(target=self._run, name="worker-beat", daemon=True)

    def start(self) -> None:
        """Begins to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the beat and takes the sign away."""
        self._stopped.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        key = keys.worker_beat(self._beat.name)
        with connect(self._settings.redis_url) as client:
            while not self._stopped.is_set():
                with contextlib.suppress(redis.RedisError):
                    client.set(key, self._now().model_dump_json(), px=EXPIRES_MS)
                self._stopped.wait(EVERY_S)
            with contextlib.suppress(redis.RedisError):
                client.delete(key)

    def _now(self) -> Beat:
        update: dict[str, object] = {"busy_with": self._busy_with()}
        if time.monotonic() - self._measured_at >= MEASURED_EVERY_S:
            self._measured_at = time.monotonic()
            update["resident_bytes"] = _resident_bytes(self._process)
        self._beat = self._beat.model_copy(update=update)
        return self._beat


def device_names(devices: Sequence[int]) -> list[str]:
    """Returns the devices of this worker without loading torch: its GPUs as cuda:0, ..., or cpu.

    Args:
        devices: those that the settings name; empty: all that the driver shows.
    """
    count = len(devices)
    if not count:
        with contextlib.suppress(OSError):
            count = len(list(Path("/proc/driver/nvidia/gpus").iterdir()))
    return [f"cuda:{index}" for index in range(count)] or ["cpu"]


def _resident_bytes(process: psutil.Process) -> int:
    """Returns the memory of a process and of all below it."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += member.memory_info().rss
    return total


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
