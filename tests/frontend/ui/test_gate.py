"""The door of the pages: what another web page sends is turned away, with and without login."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from frontend.ui import gate, sessions

UI = "http://127.0.0.1:8501"


async def pages(scope: Scope, receive: Receive, send: Send) -> None:
    """What lies behind the gate: lets everybody in."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})


async def nothing_more() -> Message:
    return {"type": "websocket.connect"}


def asked(kind: str, method: str, path: str, headers: dict[str, str], receive: Receive = nothing_more) -> int:
    """Returns the status with which the gate answers; of a websocket 101, or its code."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in ({"Host": "127.0.0.1:8501"} | headers).items()]
    scope = {
        "type": kind, "method": method, "path": path, "headers": raw, "query_string": b"", "server": ("127.0.0.1", 1),
    }  # fmt: skip
    if kind == "websocket":
        del scope["method"]
    asyncio.run(gate.Gate(pages)(scope, receive, send))
    first = sent[0]
    return 101 if first["type"] == "websocket.accept" else int(first.get("status") or first["code"])


@pytest.fixture(params=["open", "with login"], autouse=True)
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that has a session where one is needed."""
    monkeypatch.setenv("GAPSCOPE_UI_ORIGIN", UI)
    monkeypatch.setattr(sessions, "needs_login", lambda: request.param == "with login")
    monkeypatch.setattr(sessions, "key_of", lambda _: "gsk_x")


def socket(headers: dict[str, str]) -> int:
    return asked("websocket", "", "/_stcore/stream", headers)


def upload(headers: dict[str, str]) -> int:
    return asked("http", "PUT", "/_stcore/upload_file/x", headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:8501", "Origin": "http://evil.example:8501"},  # DNS rebinding
        {"Host": "127.0.0.1.evil.example", "Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "http://127.0.0.1:9999"},  # another server on this machine: cookies know no ports
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Host": "["},
    ],
    ids=str,
)
def test_another_web_page_reaches_no_page(headers: dict[str, str]) -> None:
    assert socket(headers) == 4403
    assert upload(headers) == 403
    assert asked("http", "GET", "/", headers) == (403 if "Host" in headers else 200)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": UI},
        {"Host": "localhost:8501", "Origin": "http://localhost:8501"},
        {"Host": "localhost:9000", "Origin": "http://localhost:9000"},  # a tunnel
        {},
    ],
    ids=str,
)
def test_the_pages_themselves_and_scripts_are_let_in(headers: dict[str, str]) -> None:
    assert (socket(headers), upload(headers)) == (101, 200)


@pytest.mark.parametrize("host", ["gapscope.example.org", "127.0.0.1:8501"])  # a proxy may keep Host or set its own
def test_behind_a_proxy_the_named_origin_is_let_in(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("GAPSCOPE_UI_ORIGIN", "https://gapscope.example.org")
    assert socket({"Host": host, "Origin": "https://gapscope.example.org"}) == 101
    assert socket({"Host": "other.example.org", "Origin": "https://other.example.org"}) == 4403


def test_a_login_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "FORM_S", 0.05)
    monkeypatch.setattr(sessions, "needs_login", lambda: True)

    async def never() -> Message:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    assert asked("http", "POST", "/login", {}, never) == 408
