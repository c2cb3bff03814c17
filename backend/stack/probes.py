"""Questions to the processes of the stack; each is answered within about a second, with None for "healthy"."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Callable
from typing import cast

import psutil
from pydantic import ValidationError
from redis.exceptions import RedisError

from backend.stack.server import connect
from worker.contract import keys
from worker.contract.resources import Beat

TIMEOUT_S = 1.0

Probe = Callable[[int], str | None]
"""Given the process id: None when it is healthy, else what is missing."""


def http_probe(host: str, port: int, path: str) -> Probe:
    """Returns a probe that wants a 200 from a path."""

    def probe(_: int) -> str | None:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return f"no answer on port {port} yet"
        finally:
            connection.close()
        return None if status == 200 else f"GET {path} answers {status}"

    return probe


def redis_probe(url: str) -> Probe:
    """Returns a probe that wants an answer to PING."""

    def probe(_: int) -> str | None:
        try:
            with connect(url, TIMEOUT_S) as client:
                client.ping()
        except RedisError as error:
            return f"no answer yet ({error})" if "LOADING" in str(error) else "no answer yet"
        return None

    return probe


def beats(url: str) -> list[Beat]:
    """Returns the workers that say that they live.

    Raises:
        RedisError: when the server does not answer.
    """
    found = []
    with connect(url, TIMEOUT_S) as client:
        names = list(client.scan_iter(keys.WORKER_BEATS, count=500))
        for text in cast("list[str | None]", client.mget(names)) if names else []:
            with contextlib.suppress(ValidationError):  # another version's beat is none of ours
                found.append(Beat.model_validate_json(text or ""))
    return found


def worker_probe(url: str, queue: str) -> Probe:
    """Returns a probe that wants the beat of this very process (or of its pool child) on its queue."""
    host = socket.gethostname()

    def probe(pid: int) -> str | None:
        try:
            pids = {beat.pid for beat in beats(url) if beat.queue == queue and beat.host == host}
        except RedisError:
            return "waits for the server"
        if pid in pids:
            return None
        try:
            children = {child.pid for child in psutil.Process(pid).children()}
        except psutil.NoSuchProcess:
            return "has just ended"
        return None if pids & children else "no beat yet"

    return probe
