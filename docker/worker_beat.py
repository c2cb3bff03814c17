"""Exit status 0 when the worker of a queue on this host has said lately that it lives: a container's health check."""

from __future__ import annotations

import socket
import sys

import redis

from worker.contract import keys
from worker.contract.resources import Beat
from worker.contract.settings import load_settings


def lives(queue: str) -> bool:
    """Returns whether this host's worker of a queue beats; its key expires when it does not."""
    with redis.Redis.from_url(load_settings().redis_url, socket_timeout=3, decode_responses=True) as client:
        for name in client.scan_iter(keys.WORKER_BEATS):
            text = client.get(name)
            beat = Beat.model_validate_json(text) if isinstance(text, str) else None
            if beat is not None and beat.queue == queue and beat.host == socket.gethostname():
                return True
    return False


if __name__ == "__main__":
    sys.exit(0 if lives(sys.argv[1]) else 1)
