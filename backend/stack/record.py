"""HOME/stack.json: what runs and where it answers, for other commands and for tests. It is there while a stack runs."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import psutil

from backend.stack.processes import Supervised
from backend.stack.table import Plan
from worker.contract.layout import write_json

FORMAT = 1


def path_of(home: Path) -> Path:
    """Returns where a home's record lies."""
    return home / "stack.json"


def write(plan: Plan, table: list[Supervised], state: str) -> None:
    """Writes the record, atomically.

    Args:
        plan: what was started.
        table: its processes.
        state: starting, ready, degraded or stopping.
    """
    processes = {
        entry.name: {
            "pid": entry.pid,
            "created": entry.created,
            "health": entry.health,
            "restarts": entry.restarts,
            "log": str(entry.log),
        }
        for entry in table
    }
    record = {
        "format": FORMAT,
        "state": state,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "home": str(plan.home),
        "api_url": plan.api_url,
        "ui_url": plan.ui_url,
        "written_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processes": processes,
    }
    write_json(path_of(plan.home), record)


def read(home: Path) -> dict[str, Any] | None:
    """Returns a home's record, or None where there is none that can be read."""
    try:
        value = json.loads(path_of(home).read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def remove(home: Path) -> None:
    """Removes the record: nothing runs any more."""
    path_of(home).unlink(missing_ok=True)


def kill_leftovers(home: Path) -> list[int]:
    """Kills what a stack that ended badly left behind on this host; the caller holds the home's lock.

    A process is known by its id and its time of birth, so that a stranger that got the same id later is spared.

    Returns:
        The ids of what was killed.
    """
    record = read(home)
    if record is None or record.get("host") != socket.gethostname():
        return []
    killed = []
    for entry in (record.get("processes") or {}).values():
        try:
            process = psutil.Process(int(entry["pid"]))
            if abs(process.create_time() - float(entry["created"])) > 0.5:
                continue
            family = [process, *process.children(recursive=True)]
        except (psutil.Error, KeyError, TypeError, ValueError):
            continue
        for member in family:
            try:
                member.kill()
                killed.append(member.pid)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=3)
    return killed
