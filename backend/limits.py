"""Limits on request bodies: what is too long, or compressed, is refused before it is read, or while it comes in."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.problems import UnsupportedMediaError, answer
from worker.contract.errors import InvalidRequestError, TooLargeError
from worker.contract.settings import MIB, Settings

FORM_OVERHEAD = MIB
"""What the other fields and the boundaries of an upload may add."""


def is_form(headers: Headers) -> bool:
    """Returns whether a body is a form, which goes to disk as it comes in; every other one is read into memory."""
    return headers.get("content-type", "").strip().lower().startswith("multipart/form-data")


class BodyLimit:
    """ASGI middleware that ends a request whose body is over its limit; uploads have limits of their own."""

    def __init__(self, app: ASGIApp, settings: Settings, uploads: Mapping[str, int]) -> None:
        """Keeps the limits.

        Args:
            app: what is guarded.
            settings: the limit of every other body.
            uploads: path -> bytes that a file uploaded there may have.
        """
        self._app = app
        self._max_body = settings.max_body_bytes
        self._uploads = {path: size + FORM_OVERHEAD for path, size in uploads.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 413 or 415, or hands the request on with a counting `receive`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._uploads.get(scope["path"].rstrip("/"), self._max_body) if is_form(headers) else self._max_body
        if (encoding := headers.get("content-encoding", "identity").lower()) != "identity":
            await answer(_encoded(encoding).problem(), {"Connection": "close"})(scope, receive, send)
            return
        declared = headers.get("content-length")
        if declared is not None and not (declared.isascii() and declared.isdigit()):
            await answer(InvalidRequestError("Content-Length must be a number.").problem())(scope, receive, send)
            return
        if declared is not None and int(declared) > limit:
            await answer(_too_large(limit).problem(), {"Connection": "close"})(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise HTTPException(413, _too_large(limit).detail)  # FastAPI hides other errors behind a 400
            return message

        await self._app(scope, counted, send)


def _encoded(encoding: str) -> UnsupportedMediaError:
    return UnsupportedMediaError(
        f"Expected a body as it is; got one with Content-Encoding {encoding[:40]!r}, which could unpack to any size. "
        "Send it uncompressed.",
        code="encoded-body",
    )


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"Expected a body of at most {limit:,} bytes; this one is longer.", code="body-too-large")
