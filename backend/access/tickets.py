"""Tickets: what a browser shows instead of a key for one address, for a while.

A browser cannot put a key into the address of a download, and a key in an address would end up in histories. The pages
ask for a ticket instead; it is bound to a method and a path, and to the key that asked, and dies with it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import Final

from backend.access.keys import ApiKey, KeyStore

LIFE_S: Final = 3_600
PARAMETER: Final = "ticket"
_TICKET: Final = re.compile(r"([0-9a-f]{12})\.([0-9]{1,12})\.([0-9a-f]{64})\Z")


class Tickets:
    """Makes and reads tickets."""

    def __init__(self, secret: bytes, keys: KeyStore) -> None:
        self._secret = secret
        self._keys = keys

    def issue(self, key: ApiKey, method: str, path: str) -> str:
        """Returns a ticket.

        Args:
            key: who asks.
            method: of the request that it will stand in.
            path: of that request, not quoted, without its query.
        """
        expires = int(time.time()) + LIFE_S
        return f"{key.id}.{expires}.{self._sign(key.id, method, path, expires)}"

    def owner(self, ticket: str, method: str, path: str) -> ApiKey | None:
        """Returns the valid key that a ticket stands for, or None when it is not for this request, or has expired."""
        match = _TICKET.match(ticket)
        if match is None or int(match[2]) < time.time():
            return None
        if not hmac.compare_digest(match[3], self._sign(match[1], method, path, int(match[2]))):
            return None
        return self._keys.get(match[1])

    def _sign(self, key_id: str, method: str, path: str, expires: int) -> str:
        text = f"ticket\n{key_id}\n{method}\n{path}\n{expires}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()
