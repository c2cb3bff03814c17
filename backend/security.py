"""Who may do what: origins and hosts of requests, and signed addresses of media.

Other web pages can make a browser send requests to 127.0.0.1. They may change nothing (foreign Origin, or
Sec-Fetch-Site: cross-site, on an unsafe method), and a name of theirs that points to 127.0.0.1, or to a port that is
published there, reaches nothing (Host).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path
from urllib.parse import quote, urlencode

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.problems import ForbiddenError, answer
from worker.contract.hosts import is_own_host, is_own_origin, netloc_of, own_origins
from worker.contract.settings import Settings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SIGNATURE_LIFE_S = 3_600
SIGNATURE_STEP_S = 600
"""Addresses of the same file stay the same for so long: a page drawn anew restarts no player and loads no poster."""
KEY_BYTES = 32


class OriginGuard:
    """ASGI middleware that refuses what another web page makes a browser send."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._ui = frozenset(own_origins(settings.ui_origin))
        self._own_host = netloc_of(settings.public_url) if settings.public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403 or hands the request on."""
        if scope["type"] == "http":
            reason = self._refusal(scope, Headers(scope=scope))
            if reason is not None:
                await answer(ForbiddenError(reason, code="forbidden-origin").problem())(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> str | None:
        host = headers.get("host", "").lower()
        server = scope.get("server")
        if not is_own_host(host, self._own_host, str(server[0]) if server else None):
            return (
                f"Expected a loopback Host such as 127.0.0.1; got {host[:80]!r}. Use the address that `up` prints, or "
                "set GAPSCOPE_PUBLIC_URL if this is the API's."
            )
        if scope["method"] in SAFE_METHODS:
            return None
        origin = headers.get("origin")
        if origin is not None:
            if is_own_origin(origin, self._ui, (host, self._own_host)):
                return None
            return f"Expected the UI's origin; got {origin[:80]!r}. Set GAPSCOPE_UI_ORIGIN if this is your UI."
        if headers.get("sec-fetch-site") == "cross-site":
            return "Another web page sent this request (Sec-Fetch-Site: cross-site). Use the UI or the API itself."
        return None


class MediaSigner:
    """Signs addresses of media: each is bound to one file and expires."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    @classmethod
    def of_home(cls, home: Path) -> MediaSigner:
        """Returns the signer whose key lies in the home; makes the key (0600) where it is missing."""
        path = home / "media.key"
        if not path.exists():
            partial = home / f".media.key.{secrets.token_hex(8)}"
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was first: its key counts
                os.link(partial, path)
            partial.unlink()
        return cls(path.read_bytes())

    def address(self, path: str, track: str) -> str:
        """Returns the address of a track of a clip, with an expiry and a signature.

        Args:
            path: path of the address, not yet quoted.
            track: what of the clip is served, such as `video`.
        """
        expires = (int(time.time()) // SIGNATURE_STEP_S + 1) * SIGNATURE_STEP_S + SIGNATURE_LIFE_S
        query = urlencode({"track": track, "expires": expires, "signature": self._sign(path, track, expires)})
        return f"{quote(path)}?{query}"

    def check(self, path: str, track: str, expires: int | None, signature: str | None) -> None:
        """Passes a request with a valid signature.

        Args:
            path: path of the request, not quoted.
            track: what of the clip is asked for.
            expires: seconds since 1970, from the address.
            signature: from the address.

        Raises:
            ForbiddenError: when the signature is wrong, has expired, or is missing.
        """
        if expires is None or signature is None:
            raise ForbiddenError("This address needs a signature; take it from the API's answer.", code="not-signed")
        if not hmac.compare_digest(signature, self._sign(path, track, expires)):
            raise ForbiddenError("The signature does not belong to this address.", code="bad-signature")
        if expires < time.time():
            raise ForbiddenError("The address has expired; ask the API for a new one.", code="signature-expired")

    def _sign(self, path: str, track: str, expires: int) -> str:
        text = f"{path}\n{track}\n{expires}".encode()
        return hmac.new(self.key, text, hashlib.sha256).hexdigest()
