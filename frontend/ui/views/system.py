"""Page: the machine. Workers, queues, Redis, disk and versions."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from frontend.ui import words
from frontend.ui.service import api_url, client, public_url, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Beat

QUEUE_WORDS = {"train": "Training", "prepare": "Preparing clips", "score": "Scoring clips"}


def page() -> None:
    """Draws the page; it ticks."""
    st.title("System", anchor=False)
    st.fragment(run_every=2.0, key="system_tick")(_draw)()


def _draw() -> None:
    try:
        facts = client().system()
    except GapscopeError as error:
        show_error(error)
        return
    workers = [Beat.model_validate(worker) for worker in facts.get("workers", ())]
    for warning in warnings(facts, workers):
        st.warning(warning, icon=":material/warning:")
    _figures(facts, workers)
    with st.container(border=True, key="system_workers"):
        st.markdown("##### Workers")
        _workers(workers)
    left, right = st.columns(2, gap="medium")
    with left.container(border=True, height="stretch", key="system_redis"):
        st.markdown("##### Redis")
        _table(redis_rows(facts.get("redis") or {}))
    with right.container(border=True, height="stretch", key="system_disk"):
        st.markdown("##### Disk")
        _table(disk_rows(facts.get("disk") or {}))
    with st.container(border=True, key="system_versions"):
        st.markdown("##### Addresses and versions")
        addresses = [("API, as this interface calls it", api_url()), ("API, as your browser calls it", public_url())]
        _table([*addresses, *((str(name), str(value)) for name, value in (facts.get("versions") or {}).items())])


def warnings(facts: dict[str, Any], workers: list[Beat]) -> list[str]:
    """Returns what stops work, in words with a remedy."""
    found = []
    present = {worker.queue.split("-")[0] for worker in workers}
    for queue, title in QUEUE_WORDS.items():
        if queue not in present:
            found.append(f"**{title}**: no worker. Start one: `gapscope up`, or see its log with `gapscope doctor`.")
    disk = facts.get("disk") or {}
    if disk.get("accepts_new_work") is False:
        found.append("**Disk**: too full for new work. Empty the trash, delete runs, or give the home more space.")
    if (facts.get("redis") or {}).get("eviction_policy", "noeviction") != "noeviction":
        found.append("**Redis**: it may throw jobs away. Set its `maxmemory-policy` to `noeviction`.")
    return found


def _figures(facts: dict[str, Any], workers: list[Beat]) -> None:
    busy = sum(worker.busy_with is not None for worker in workers)
    queues: dict[str, int] = facts.get("queues") or {}
    disk = facts.get("disk") or {}
    cells: list[tuple[str, str, str | None]] = [("Workers", f"{len(workers)}", f"{busy} busy")]
    cells += [(f"{QUEUE_WORDS.get(name, name)}: waiting", str(length), None) for name, length in queues.items()]
    cells.append(("Disk free", words.size(disk.get("free_bytes")), None))
    for column, (label, value, more) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(label, value, delta=more, delta_color="off", delta_arrow="off")


def _workers(workers: list[Beat]) -> None:
    if not workers:
        st.caption("No worker beats.")
        return
    rows = [
        {
            "name": worker.name,
            "queue": QUEUE_WORDS.get(worker.queue, worker.queue),
            "devices": ", ".join(worker.devices) or "CPU",
            "device_memory": words.size(worker.device_memory_bytes),
            "memory": words.size(worker.resident_bytes),
            "busy": worker.busy_with or "idle",
            "since": words.ago(worker.started_at),
            "process": f"{worker.host}, {worker.pid}",
        }
        for worker in workers
    ]
    titles = {
        "name": "Worker",
        "queue": "Does",
        "devices": "Devices",
        "device_memory": "Device memory",
        "memory": "Memory",
        "busy": "Busy with",
        "since": "Started",
        "process": "Host, process",
    }
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="workers_table", column_config=dict(titles))


def redis_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns what the page says of Redis."""
    limit = facts.get("max_memory_bytes")
    return [
        ("Server", f"{facts.get('server', 'redis')} {facts.get('version', '')}".strip()),
        ("Memory used", words.size(facts.get("used_memory_bytes"))),
        ("Memory limit", "none" if not limit else words.size(limit)),
        ("When full", str(facts.get("eviction_policy", words.NONE))),
    ]


def disk_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns what the page says of the disk."""
    total, free = facts.get("total_bytes"), facts.get("free_bytes")
    part = f" ({words.percent(free / total)})" if total and free is not None else ""
    accepts = facts.get("accepts_new_work")
    return [
        ("Home", str(facts.get("home", words.NONE))),
        ("Size", words.size(total)),
        ("Free", words.size(free) + part),
        ("In the trash", words.size(facts.get("trash_bytes"))),
        ("New work", words.NONE if accepts is None else "accepted" if accepts else "refused: too full"),
    ]


def _table(rows: list[tuple[str, str]]) -> None:
    st.table(pd.DataFrame(rows, columns=["what", "value"]), border="horizontal", hide_index=True, hide_header=True)
