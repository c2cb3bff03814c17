"""The Redis clients of worker processes: an outage costs each call a second, never the work."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_S = 2.0


def connect(url: str) -> redis.Redis:
    """Returns a client that gives up quickly: whoever holds a job goes on without Redis and tries again later."""
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S / 2,
        health_check_interval=30,
        retry=Retry(NoBackoff(), 1),
    )
