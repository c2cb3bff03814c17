"""Memory, file descriptors and threads of each process of a stack, and Redis's memory, sampled over time."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import redis

from backend.stack.server import remembered

MIB: Final = 1024 * 1024
PASSING: Final = ("worker.runtime.child", "worker.media.child")
"""Processes that live for a run or a clip alone: what they hold goes with them."""


@dataclass(frozen=True)
class Usage:
    """What a process, and those that it keeps, hold."""

    resident_mib: float
    descriptors: int
    threads: int
    cpu_s: float
    """Processor time since it began."""


@dataclass(frozen=True)
class Look:
    """One sample of everything."""

    at_s: float
    usages: dict[str, Usage]
    """Name of the process in the stack -> usage; a process that is being started is missing."""
    redis_mib: float | None


class Watch(threading.Thread):
    """Looks at a stack at intervals until it is stopped."""

    def __init__(self, home: Path, every_s: float) -> None:
        super().__init__(daemon=True)
        self._home, self._every_s = home, every_s
        self._stop_asked = threading.Event()
        self._began = time.monotonic()
        self.looks: list[Look] = [self._look()]

    def run(self) -> None:
        """Looks at intervals."""
        while not self._stop_asked.wait(self._every_s):
            self.looks.append(self._look())

    def stop(self) -> list[Look]:
        """Ends it with a last look; returns all."""
        self._stop_asked.set()
        self.join()
        self.looks.append(self._look())
        return self.looks

    def _look(self) -> Look:
        record = json.loads((self._home / "stack.json").read_text())
        pids = {name: entry["pid"] for name, entry in record["processes"].items()} | {"up": record["pid"]}
        usages = {name: usage for name, pid in pids.items() if (usage := _usage(name, pid)) is not None}
        return Look(time.monotonic() - self._began, usages, _redis_mib(self._home))


def _usage(name: str, pid: int | None) -> Usage | None:
    """Returns what a process holds, its children included where they stay (`up` starts all others: it counts alone)."""
    if pid is None:
        return None
    try:
        first = psutil.Process(pid)
        family = [first, *(_lasting(first) if name != "up" else [])]
    except psutil.Error:
        return None
    resident, descriptors, threads, cpu_s = 0, 0, 0, 0.0
    for process in family:
        try:
            with process.oneshot():
                found = process.memory_info().rss, process.num_fds(), process.num_threads()
                cpu_s += sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
        resident, descriptors, threads = resident + found[0], descriptors + found[1], threads + found[2]
    return Usage(resident / MIB, descriptors, threads, cpu_s)


def _lasting(process: psutil.Process) -> list[psutil.Process]:
    kept = []
    for child in process.children(recursive=True):
        try:
            command = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if not any(word in command for word in PASSING):
            kept.append(child)
    return kept


def _redis_mib(home: Path) -> float | None:
    server = remembered(home)
    if server is None:
        return None
    try:
        with redis.Redis.from_url(server.url) as client:
            return int(client.info("memory")["used_memory"]) / MIB
    except redis.RedisError:
        return None
