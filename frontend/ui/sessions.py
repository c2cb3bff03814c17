"""Who is logged in to the pages: a session cookie for a browser, the API key behind it in this process's memory alone.

After a restart of the pages everybody logs in again.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import OrderedDict
from typing import Final

COOKIE: Final = "gapscope_session"
LIFE_S: Final = 12 * 3_600
MOST_SESSIONS: Final = 10_000

_sessions: OrderedDict[str, tuple[float, str]] = OrderedDict()
_lock = threading.Lock()


def needs_login() -> bool:
    """Returns whether the pages ask for a key."""
    return os.environ.get("GAPSCOPE_AUTH") == "on"


def begin(api_key: str) -> str:
    """Returns the id of a new session that acts with an API key."""
    session_id = secrets.token_urlsafe(32)
    with _lock:
        _sessions[session_id] = (time.monotonic() + LIFE_S, api_key)
        while len(_sessions) > MOST_SESSIONS:
            _sessions.popitem(last=False)
    return session_id


def key_of(session_id: str | None) -> str | None:
    """Returns the API key of a session, or None when there is no such session (any more)."""
    with _lock:
        expires, api_key = _sessions.get(session_id or "", (0.0, ""))
        if expires > time.monotonic():
            return api_key
        _sessions.pop(session_id or "", None)
        return None


def end(session_id: str | None) -> None:
    """Ends a session."""
    with _lock:
        _sessions.pop(session_id or "", None)
