"""Slow clients, huge heads and broken framing cost one connection for a bounded time, and nobody else anything."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from backend.connections import BoundedHttp
from tests.backend.conftest import wait_for

BLOCK = b"x" * 65_536


class Hasty(BoundedHttp):
    head_s, body_s, answer_s, look_every_s = 0.4, 0.4, 0.4, 0.05
    body_bytes_per_s = 1_000_000


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body where the path says so, then answers; `/much` with more than any buffer takes."""
    if scope["type"] != "http":
        return
    size, more = 0, scope["path"] != "/unread"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/much":
        for _ in range(400):
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
    await send({"type": "http.response.body", "body": str(size).encode()})


@dataclass
class Server:
    port: int
    running: uvicorn.Server

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def exchange(self, data: bytes) -> tuple[int, bytes]:
        """Returns status and body of what is answered until the connection is closed."""
        with self.connect() as wire:
            with contextlib.suppress(ConnectionError):
                wire.sendall(data)
            return read(wire)


def read(wire: socket.socket) -> tuple[int, bytes]:
    answer = b""
    try:
        while block := wire.recv(65_536):
            answer += block
    except ConnectionError:
        pass
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    config = uvicorn.Config(app, port=0, http=Hasty, ws="none", lifespan="off", log_level="error")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    wait_for(lambda: running.started, "the server starts")
    yield Server(running.servers[0].sockets[0].getsockname()[1], running)
    running.should_exit = True
    thread.join(10)


def drip(wire: socket.socket, byte: bytes, every_s: float = 0.02, most_s: float = 4.0) -> float:
    """Sends a byte now and then until the connection is closed; returns the seconds that it took."""
    begun = time.monotonic()
    wire.settimeout(every_s)
    while time.monotonic() - begun < most_s:
        try:
            wire.sendall(byte)
            if wire.recv(65_536) == b"":
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - begun


@pytest.mark.parametrize(
    ("begin", "byte"),
    [
        (b"", b"\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"x"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n"),
    ],
    ids=["before", "head", "body", "chunks", "body that nobody reads", "after an answer"],
)
def test_a_client_that_drips_is_closed_in_time_and_others_are_served(server: Server, begin: bytes, byte: bytes) -> None:
    with server.connect() as wire:
        wire.sendall(begin)
        begun = time.monotonic()
        assert httpx.get(f"http://127.0.0.1:{server.port}/").text == "0"
        assert time.monotonic() - begun < 2
        assert drip(wire, byte) < 3
    wait_for(lambda: not server.running.server_state.connections, "no connection is left", 6)


def test_a_client_that_does_not_read_is_closed(server: Server) -> None:
    with server.connect() as wire:
        wire.sendall(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: server.running.server_state.connections, "the connection is there")
        wait_for(lambda: not server.running.server_state.connections, "the connection is closed", 5)


def test_a_slow_reader_gets_all_of_an_answer_though_its_connection_is_closing(server: Server) -> None:
    with server.connect() as wire:
        wire.sendall(b"GET /much HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        size, whole, rest = 0, 400 * len(BLOCK), 3_000_000
        while block := wire.recv(65_536):
            size += len(block)
            if rest and size > whole - rest:
                rest = 0
                time.sleep(0.25)
    assert size > whole


def test_a_steady_client_may_take_longer_than_the_limits(server: Server) -> None:
    with server.connect() as wire:
        wire.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1310720\r\n\r\n")
        for _ in range(20):
            wire.sendall(BLOCK)
            time.sleep(0.05)
        status, body = read(wire)
        assert status == 200
        assert b"1310720" in body


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 3_000_000, 431),
        (b"GET /" + b"y" * 3_000_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\0Y: 1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)  # fmt: skip
def test_broken_or_huge_heads_are_told_so_and_closed(server: Server, request_: bytes, status: int) -> None:
    told, body = server.exchange(request_)
    if len(request_) < 1_000_000:  # the rest of a larger one meets a closed connection, which may cost its answer
        assert told == status
    if told:
        assert json.loads(body)["code"] == f"http-{status}"


def test_an_upgrade_to_a_websocket_is_answered_as_a_plain_request(server: Server) -> None:
    upgrade = (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n"
    )
    with server.connect() as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n" + upgrade)
        assert wire.recv(65_536).startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_each_answered(server: Server) -> None:
    one = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"
    with server.connect() as wire:
        wire.sendall(one * 3 + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b""
        while block := wire.recv(65_536):
            answer += block
    assert answer.count(b"HTTP/1.1 200") == 4
