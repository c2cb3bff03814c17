"""The door of the pages: without a session, a browser gets the login and nothing else."""

from __future__ import annotations

import html
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from frontend.client import GapscopeClient, discover
from frontend.ui import sessions
from worker.contract.errors import GapscopeError

LOGIN, LOGOUT, HEALTH = "/login", "/logout", "/_stcore/health"
MAX_FORM_BYTES: Final = 8_192
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
        """Hands on what comes with a session; everything else is led to the login."""
        if scope["type"] not in ("http", "websocket") or not sessions.needs_login():
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if scope["type"] == "http" and path in (LOGIN, LOGOUT):
            answer = await (login if path == LOGIN else logout)(Request(scope, receive))
            await answer(scope, receive, send)
        elif path == HEALTH or sessions.key_of(session_id(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401, "reason": "log in first"})
        elif scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", ""):
            wanted = path + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
            await RedirectResponse(f"{LOGIN}?next={quote(wanted)}", 303, _HEADERS)(scope, receive, send)
        else:
            await PlainTextResponse("Log in first.", 401, _HEADERS)(scope, receive, send)


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
    if not _is_own_page(request):
        return PlainTextResponse("Another web page sent this.", 403, _HEADERS)
    form = await _form(request)
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


def _is_own_page(request: Request) -> bool:
    origin = request.headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # such as a bracket that is not closed
        return False


def _local(wanted: str) -> str:
    """Returns an address of these pages, whatever the form names."""
    is_path = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if is_path and wanted.isprintable() else "/"


def _page(message: str, wanted: str, status: int = 200) -> Response:
    text = PAGE.replace("{message}", html.escape(message)).replace("{next}", html.escape(_local(wanted)))
    return HTMLResponse(text, status, _HEADERS)
