"""Idempotency-Key: a POST that is sent again with the same key gets the first answer, and nothing is done twice.

The answer is kept in Redis for a day, under the digest of method, path and key. A request is the same when its body is
(for an upload, whose boundary changes with each try: when its length is). Only answers of success are kept: what was
refused may be tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from dataclasses import dataclass, field

from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.limits import is_form
from backend.problems import answer, answer_http, invalid_field
from worker.contract import keys
from worker.contract.errors import ConflictError, GapscopeError, UnavailableError

KEEP_S = 86_400
PENDING_S = 120
MAX_KEY = 200
MAX_ANSWER_BYTES = 256 * 1024
_KEPT_HEADERS = (b"content-type", b"location")


@dataclass
class _Recorder:
    """Passes an answer on and keeps a copy."""

    send: Send
    status: int = 0
    headers: list[list[str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [
                [name.decode("latin-1"), value.decode("latin-1")]
                for name, value in message["headers"]
                if name.lower() in _KEPT_HEADERS
            ]
        elif message["type"] == "http.response.body" and len(self.body) <= MAX_ANSWER_BYTES:
            self.body += message.get("body", b"")
        await self.send(message)

    @property
    def worth_keeping(self) -> bool:
        return 200 <= self.status < 300 and len(self.body) <= MAX_ANSWER_BYTES


class Idempotency:
    """ASGI middleware that answers a repeated POST from memory."""

    def __init__(self, app: ASGIApp, client: AsyncRedis) -> None:
        self._app = app
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers from memory, or hands the request on and remembers the answer."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = headers.get("idempotency-key")
        if key is None:
            await self._app(scope, receive, send)
            return
        try:
            if not 1 <= len(key) <= MAX_KEY or not all("!" <= sign <= "~" for sign in key):
                raise _bad_key(key)
            request_print, receive = await _fingerprint(scope, headers, receive)
            await self._once(_slot(scope, key), request_print, scope, receive, send)
        except GapscopeError as error:
            await answer(error.problem())(scope, receive, send)
        except HTTPException as error:
            await answer_http(error)(scope, receive, send)
        except RedisError:
            gone = UnavailableError("Redis does not answer; the Idempotency-Key could not be checked.")
            await answer(gone.problem(), {"Retry-After": "2"})(scope, receive, send)

    async def _once(self, slot: str, request_print: str, scope: Scope, receive: Receive, send: Send) -> None:
        client = self._client
        if not await client.set(slot, json.dumps({"request": request_print}), nx=True, ex=PENDING_S):
            await self._replay(await client.get(slot), request_print, send)
            return
        recorder = _Recorder(send)
        kept = False
        try:
            await self._app(scope, receive, recorder)
            if recorder.worth_keeping:
                document = {
                    "request": request_print,
                    "status": recorder.status,
                    "headers": recorder.headers,
                    "body": recorder.body.decode("utf-8", "replace"),
                }
                kept = True  # from here on the answer is out: a second one must not begin
                with contextlib.suppress(RedisError):
                    await client.set(slot, json.dumps(document), ex=KEEP_S)
        finally:
            if not kept:
                with contextlib.suppress(RedisError):
                    await asyncio.shield(client.delete(slot))

    async def _replay(self, stored: str | bytes | None, request_print: str, send: Send) -> None:
        document = json.loads(stored) if stored else {}
        if document.get("request", request_print) != request_print:
            raise invalid_field(
                "Idempotency-Key",
                expected="the same request as before under this key",
                got="another body",
                remedy="Use a new key for a new request.",
                code="idempotency-key-reused",
            )
        if "status" not in document:
            raise ConflictError("The first request with this key is still being answered.", code="idempotency-pending")
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in document["headers"]]
        headers.append((b"idempotency-replayed", b"true"))
        body = document["body"].encode()
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": document["status"], "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _bad_key(key: str) -> GapscopeError:
    return invalid_field(
        "Idempotency-Key",
        expected=f"1 to {MAX_KEY} printable ASCII characters without spaces",
        got=repr(key[:80]),
        remedy="Use a UUID.",
        code="invalid-idempotency-key",
    )


def _slot(scope: Scope, key: str) -> str:
    caller = scope.get("caller")  # what one caller did under a key is no answer to another
    text = f"{caller.name if caller else ''}\n{scope['path']}\n{key}"
    return keys.idempotency(hashlib.sha256(text.encode()).hexdigest()[:32])


async def _fingerprint(scope: Scope, headers: Headers, receive: Receive) -> tuple[str, Receive]:
    digest = hashlib.sha256(scope["query_string"])
    if is_form(headers):
        digest.update(headers.get("content-length", "").encode())
        return digest.hexdigest(), receive
    messages: list[Message] = []
    while True:
        message = await receive()
        messages.append(message)
        digest.update(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            break

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return digest.hexdigest(), again
