"""The door of the pages: another web page gets nothing, and without a session a browser gets the login alone.

The pages ask the API on their own, as this machine does: what comes in here passes none of the API's checks of origins.
"""

from __future__ import annotations

import asyncio
import html
import os
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from frontend.client import GapscopeClient, discover
from frontend.ui import sessions
from worker.contract.errors import GapscopeError
from worker.contract.hosts import is_own_host, is_own_origin, netloc_of, own_origins

LOGIN, LOGOUT, HEALTH = "/login", "/logout", "/_stcore/health"
ORIGIN: Final = "GAPSCOPE_UI_ORIGIN"
MAX_FORM_BYTES: Final = 8_192
FORM_S: Final = 10.0
PAGE: Final = (Path(__file__).parent / "login.html").read_text(encoding="utf-8")
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
}


class Gate:
    """ASGI middleware, for HTTP and for the websocket on which Streamlit's pages live."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands on what comes with a session, or from anybody where none is needed; the rest is led to the login."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if (reason := foreign(scope)) is not None:
            await _turn_away(scope, receive, send, 4403, PlainTextResponse(reason, 403, _HEADERS))
            return
        if not sessions.needs_login():
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if scope["type"] == "http" and path in (LOGIN, LOGOUT):
            answer = await (login if path == LOGIN else logout)(Request(scope, receive))
            await answer(scope, receive, send)
        elif path == HEALTH or sessions.key_of(session_id(scope)):
            await self._app(scope, receive, send)
        elif (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and "text/html" in Headers(scope=scope).get("accept", "")
        ):
            wanted = path + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
            await RedirectResponse(f"{LOGIN}?next={quote(wanted)}", 303, _HEADERS)(scope, receive, send)
        else:
            await _turn_away(scope, receive, send, 4401, PlainTextResponse("Log in first.", 401, _HEADERS))


async def _turn_away(scope: Scope, receive: Receive, send: Send, code: int, answer: Response) -> None:
    """Sends a refusal: an answer, or to a websocket a code of its own."""
    if scope["type"] == "http":
        await answer(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.close", "code": code, "reason": bytes(answer.body).decode()[:100]})


def foreign(scope: Scope) -> str | None:
    """Returns why a request comes from another web page, None where it does not: by Host, and by Origin where it acts.

    Args:
        scope: of a request or of a websocket; through the latter a page can do all that its reader can.
    """
    headers = Headers(scope=scope)
    host, own = headers.get("host", "").lower(), os.environ.get(ORIGIN)
    server = scope.get("server")
    if not is_own_host(host, netloc_of(own) if own else None, str(server[0]) if server else None):
        return f"Expected a loopback Host such as 127.0.0.1; got {host[:80]!r}. Set {ORIGIN} if this is your address."
    if scope["type"] == "http" and scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return None
    origin = headers.get("origin")
    if origin is None or is_own_origin(origin, own_origins(own), (host,)):
        return None
    return f"Another web page sent this: {origin[:80]!r}. Set {ORIGIN} if it is yours."


def session_id(scope: Scope) -> str | None:
    """Returns the session that a request's cookie names."""
    try:
        cookie = SimpleCookie(Headers(scope=scope).get("cookie", "")).get(sessions.COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie else None


async def login(request: Request) -> Response:
    """Draws the login (GET), or begins a session (POST) for a key that the API knows."""
    if request.method != "POST":
        return _page("", request.query_params.get("next", "/"))
    try:
        form = await asyncio.wait_for(_form(request), FORM_S)
    except TimeoutError:
        return PlainTextResponse("The form did not come in time.", 408, _HEADERS)
    wanted = _local(form.get("next", "/"))
    refusal = await run_in_threadpool(_refusal, form.get("key", "").strip())
    if refusal:
        return _page(refusal, wanted, status=401)
    answer = RedirectResponse(wanted, 303, _HEADERS)
    answer.set_cookie(
        sessions.COOKIE,
        sessions.begin(form["key"].strip()),
        max_age=sessions.LIFE_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https",
    )
    return answer


async def logout(request: Request) -> Response:
    """Ends the session."""
    sessions.end(session_id(request.scope))
    answer = RedirectResponse(LOGIN, 303, _HEADERS)
    answer.delete_cookie(sessions.COOKIE, httponly=True, samesite="strict")
    return answer


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _refusal(api_key: str) -> str:
    """Returns why the API does not take a key; empty when it does."""
    if not api_key or not api_key.isascii() or not api_key.isprintable():
        return "Expected a key, such as gsk_..."
    try:
        with GapscopeClient(discover(), timeout_s=10, api_key=api_key) as client:
            client.me()
    except GapscopeError as error:
        return error.detail
    return ""


def _local(wanted: str) -> str:
    """Returns an address of these pages, whatever the form names."""
    is_path = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if is_path and wanted.isprintable() else "/"


def _page(message: str, wanted: str, status: int = 200) -> Response:
    text = PAGE.replace("{message}", html.escape(message)).replace("{next}", html.escape(_local(wanted)))
    return HTMLResponse(text, status, _HEADERS)
