"""Page: the machine. What is wrong first, then workers, queues, Redis, disk, webhooks and versions."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import streamlit as st

from frontend.ui import links, words
from frontend.ui.once import first_press
from frontend.ui.panels import limits as panel
from frontend.ui.panels.header import told
from frontend.ui.service import api_url, client, public_url, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Beat, DamagedFolder, FailedRun, Webhook
from worker.contract.upkeep import LimitUse, SweepFacts

TICK_S: Final = 2.0
QUEUE_WORDS = {"train": "Training", "prepare": "Preparing clips", "score": "Scoring clips"}
SET_WEBHOOK: Final = (
    "Nobody is told when a run ends. Start the backend with `GAPSCOPE_WEBHOOK_URL` set to an address that takes a "
    "POST: it gets the run's name, state, accuracy and link. Signed, tried again, described in docs/settings.md."
)


def page() -> None:
    """Draws the page; it ticks."""
    told()
    st.title("System", anchor=False)
    st.fragment(run_every=TICK_S, key="system_tick")(_draw)()


def _draw() -> None:
    try:
        facts = client().system()
    except GapscopeError as error:
        show_error(error)
        return
    workers = [Beat.model_validate(worker) for worker in facts.get("workers", ())]
    _state(warnings(facts, workers))
    _figures(facts, workers)
    _failed([FailedRun.model_validate(run) for run in facts.get("failed_runs", ())])
    damaged = [DamagedFolder.model_validate(folder) for folder in facts.get("damaged_folders", ())]
    _set_apart(damaged, facts.get("num_damaged_folders") or len(damaged))
    with st.container(border=True, key="system_workers"):
        st.markdown("##### Workers")
        _workers(workers)
    left, right = st.columns(2, gap="medium")
    with left.container(border=True, height="stretch", key="system_redis"):
        st.markdown("##### Redis")
        _table(redis_rows(facts.get("redis")))
    with right.container(border=True, height="stretch", key="system_disk"):
        st.markdown("##### Disk")
        disk = facts.get("disk") or {}
        _table(disk_rows(disk))
        if disk.get("num_trashed"):
            links.link("runs", "Open the trash", icon=":material/delete_sweep:", view="trash")
    with st.container(border=True, key="system_limits"):
        st.markdown("##### Limits")
        sweep = facts.get("sweep")
        panel.draw(_limits(facts), None if sweep is None else SweepFacts.model_validate(sweep))
    left, right = st.columns(2, gap="medium")
    with left.container(border=True, height="stretch", key="system_webhooks"):
        st.markdown("##### Webhooks")
        _webhooks([Webhook.model_validate(hook) for hook in facts.get("webhooks", ())])
    with right.container(border=True, height="stretch", key="system_versions"):
        st.markdown("##### Addresses and versions")
        addresses = [("API, as this interface calls it", api_url()), ("API, as your browser calls it", public_url())]
        _table([*addresses, ("Packages", versions(facts.get("versions") or {}))])


def _state(found: list[str]) -> None:
    for warning in found:
        st.warning(warning, icon=":material/warning:")
    if not found:
        st.success("All parts answer, and new work is accepted.", icon=":material/check_circle:")


def warnings(facts: dict[str, Any], workers: list[Beat]) -> list[str]:
    """Returns what stops work or is left out, in words with a remedy."""
    if facts.get("redis", {}) is None:
        return [
            "**Redis** does not answer, so no work is accepted and nothing else is known just now. Runs that are "
            "training go on. Does `gapscope up` still run? `gapscope doctor` says what is wrong with the server."
        ]
    found = []
    present = {worker.queue.split("-")[0] for worker in workers}
    for queue, title in QUEUE_WORDS.items():
        if queue not in present:
            found.append(f"**{title}**: no worker. Start one: `gapscope up`, or see its log with `gapscope doctor`.")
    disk = facts.get("disk") or {}
    if disk.get("accepts_new_work") is False:
        found.append("**Disk**: too full for new work. Empty the trash, delete runs, or give the home more space.")
    found += panel.full(_limits(facts))
    if (facts.get("redis") or {}).get("eviction_policy", "noeviction") != "noeviction":
        found.append("**Redis**: it may throw jobs away. Set its `maxmemory-policy` to `noeviction`.")
    for name, reason in (facts.get("broken_plugins") or {}).items():
        found.append(f"**Plug-in {words.plain(name)}** could not be loaded and is left out: {words.message(reason)}")
    if damaged := facts.get("num_damaged_folders"):
        found.append(
            f"**{words.count(damaged, 'folder')}** of the home cannot be read in full, or are none of Gapscope's. What "
            "and why stands under *Set apart* below, with what to do."
        )
    return found


def _limits(facts: dict[str, Any]) -> list[LimitUse]:
    return [LimitUse.model_validate(limit) for limit in facts.get("limits", ())]


def _figures(facts: dict[str, Any], workers: list[Beat]) -> None:
    busy = sum(worker.busy_with is not None for worker in workers)
    queues: dict[str, int] = facts.get("queues") or {}
    disk = facts.get("disk") or {}
    cells: list[tuple[str, str]] = [("Workers", f"{len(workers)}, {busy} busy")]
    cells += [(f"{QUEUE_WORDS.get(name, name)}: waiting", str(length)) for name, length in queues.items()]
    cells.append(("Disk free", words.size(disk.get("free_bytes"))))
    for column, (label, value) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(label, value)


def _failed(runs: list[FailedRun]) -> None:
    if not runs:
        return
    with st.container(border=True, key="system_failed"):
        st.markdown("##### Failed within a day")
        for run in runs:
            why = words.message(run.error.detail if run.error else "no reason is known")
            with st.container(horizontal=True, vertical_alignment="center"):
                links.link("run", words.plain(run.name), icon=":material/error:", run=run.id)
                st.caption(f"{words.ago(run.failed_at)} · {why}")


def _set_apart(folders: list[DamagedFolder], count: int) -> None:
    if not folders:
        return
    with st.container(border=True, key="system_set_apart"):
        st.markdown("##### Set apart")
        st.caption(
            "Nothing of this was moved or changed. Do as the table says, then restart Gapscope: what is mended is back."
        )
        st.table(pd.DataFrame(set_apart_rows(folders)), border="horizontal", hide_index=True)
        if count > len(folders):
            st.caption(f"The first {len(folders)} of {count:,}; all: `GET /api/v1/system/damaged-folders`.")


def set_apart_rows(folders: list[DamagedFolder]) -> list[dict[str, str]]:
    """Returns what the page says of folders that are set apart."""
    return [
        {
            "Folder": words.plain(f"{folder.kind} {folder.id}".strip()),
            "What is wrong": words.plain(folder.reason),
            "What to do": words.message(folder.remedy),
            "Listed": "yes, in part" if folder.is_shown else "no",
            "Path": words.plain(folder.path),
        }
        for folder in folders
    ]


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
    if all(worker.device_memory_bytes is None for worker in workers):
        for row in rows:
            del row["device_memory"]
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
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="workers_table",
        column_config=dict(titles),
        alt="Table of the workers: what each does, on which device, with how much memory.",
    )


def _webhooks(hooks: list[Webhook]) -> None:
    if not hooks:
        st.caption(SET_WEBHOOK)
        return
    for hook in hooks:
        st.markdown("  \n".join(webhook_lines(hook)))
    if st.button("Send a test", key="test_webhooks", icon=":material/send:") and first_press("test webhooks"):
        try:
            items = client().test_webhooks()
        except GapscopeError as error:
            show_error(error)
            return
        bad = [hook for hook in items if failing(hook)]
        st.toast(f"{len(items) - len(bad)} of {len(items)} took the test message.", icon=":material/send:")


def failing(hook: Webhook) -> bool:
    """Returns whether the last message to an address did not arrive."""
    return hook.failed_at is not None and (hook.delivered_at is None or hook.failed_at > hook.delivered_at)


def webhook_lines(hook: Webhook) -> list[str]:
    """Returns what the page says of a webhook."""
    lines = [f"**{words.plain(hook.address)}**"]
    if hook.delivered_at is not None:
        lines.append(f"Last told: {words.plain(hook.delivered)}, {words.ago(hook.delivered_at)}.")
    elif hook.failed_at is None:
        lines.append("Nothing was sent yet.")
    if hook.failed_at is not None:
        icon = ":orange[:material/warning:] " if failing(hook) else ""
        lines.append(f"{icon}Last failure: {words.message(hook.failure)}, {words.ago(hook.failed_at)}.")
    if hook.waiting:
        lines.append(f"{words.count(hook.waiting, 'message')} will be tried again.")
    return lines


def redis_rows(facts: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Returns what the page says of Redis; None: it does not answer."""
    if facts is None:
        return [("Server", "does not answer")]
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
    runs = f", {words.count(facts['num_trashed'], 'run')}" if facts.get("num_trashed") else ""
    return [
        ("Home", str(facts.get("home", words.NONE))),
        ("Size", words.size(total)),
        ("Free", words.size(free) + part),
        ("Prepared datasets", words.size(facts.get("stores_bytes"))),
        ("In the trash", words.size(facts.get("trash_bytes")) + runs),
        ("New work", words.NONE if accepts is None else "accepted" if accepts else "refused: too full"),
    ]


def versions(facts: dict[str, Any]) -> str:
    """Returns names and versions in one line."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _table(rows: list[tuple[str, str]]) -> None:
    shown = [(what, words.plain(value)) for what, value in rows]
    st.table(pd.DataFrame(shown, columns=["what", "value"]), border="horizontal", hide_index=True, hide_header=True)
