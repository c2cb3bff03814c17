"""Checks of the Redis-compatible server for `gapscope doctor`: version, eviction, what it keeps, its files."""

from __future__ import annotations

import subprocess
from typing import Any

from redis.exceptions import RedisError

from backend.stack import server
from backend.stack.finding import Examined, Finding
from backend.stack.home_lock import HomeLock

FULL_SHARE = 0.9


def check_server(examined: Examined) -> Finding:
    """Returns whether there is a Redis-compatible server that works."""
    if "redis_url" in examined.settings.model_fields_set:
        return _check_answering(examined.settings.redis_url, "given by GAPSCOPE_REDIS_URL: ")
    version = subprocess.run([server.binary(), "--version"], capture_output=True, text=True, timeout=10)
    if version.returncode != 0:
        remedy = "Set GAPSCOPE_REDIS_URL to a Redis or Valkey server."
        return Finding("server", "error", f"the embedded server does not start here: {version.stderr.strip()}", remedy)
    name = " ".join(version.stdout.split()[:3])
    known = server.remembered(examined.home)
    if known is None:
        return Finding("server", "ok", f"embedded {name}, not used yet")
    if examined.running:
        return _check_answering(known.url, f"embedded, port {known.port}: ")
    return _check_files(examined, known, name)


def _check_answering(url: str, where: str) -> Finding:
    """Returns what a server that answers is, and whether it keeps what it is told."""
    about = server.check_given(url)
    with server.connect(url, timeout_s=3.0) as client:
        try:
            facts: dict[str, Any] = {**client.info("persistence"), **client.info("memory")}
        except RedisError as error:
            return Finding("server", "error", f"{where}{about} does not say how it is: {error}", "See its own log.")
    limit, used = int(facts.get("maxmemory", 0)), int(facts.get("used_memory", 0))
    if limit and used > FULL_SHARE * limit:
        detail = f"{where}{about} uses {used / 2**20:,.0f} of {limit / 2**20:,.0f} MiB"
        return Finding("server", "warning", detail, "Delete runs and scores, or give it more: `maxmemory`.")
    if facts.get("aof_enabled") and facts.get("aof_last_write_status", "ok") != "ok":
        detail = f"{where}{about} could not write its append-only file"
        return Finding("server", "error", detail, "Free the disk that it writes to; see its own log.")
    if not facts.get("aof_enabled"):
        remedy = "Set `appendonly yes` in its configuration. Until then a restart of it rebuilds all from the folders."
        return Finding("server", "warning", f"{where}{about} answers, but keeps no append-only file", remedy)
    return Finding("server", "ok", f"{where}{about} answers, evicts nothing and keeps an append-only file")


def _check_files(examined: Examined, known: server.EmbeddedServer, name: str) -> Finding:
    damage = server.check_files(known)
    if damage is None:
        return Finding("server", "ok", f"embedded {name}, its files are sound")
    if not examined.fix:
        remedy = "Run `gapscope doctor --fix`: it sets the files aside, and the run folders rebuild what they held."
        return Finding("server", "error", f"the files in {known.append_only_folder} are damaged: {damage}", remedy)
    with HomeLock(examined.home):
        aside = server.set_files_aside(known)
    detail = f"embedded {name}; its files were damaged and lie in {aside}; the run folders rebuild what they held"
    return Finding("server", "ok", detail)
