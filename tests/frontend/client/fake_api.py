"""A small HTTP server that answers as a test says: the client is tested over a real connection."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    value: Any = None
    status: int = 200
    content_type: str = "application/json"
    pieces: list[bytes] | None = None
    """Sent one by one; then the line is cut."""


HANG_UP = Answer(status=0)


@dataclass
class FakeApi:
    """Answers requests by `answer`; keeps them."""

    url: str = ""
    answer: Callable[[Request], Answer] = lambda _: Answer({})
    requests: list[Request] = field(default_factory=list)

    def problem(self, status: int, code: str, detail: str, **more: Any) -> Answer:
        document = {"type": "about:blank", "title": "No", "status": status, "detail": detail, "code": code, **more}
        return Answer(document, status, "application/problem+json")


@contextmanager
def serving() -> Iterator[FakeApi]:
    """Yields a running fake."""
    fake = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            """Says nothing."""

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(
                self.command,
                parts.path.removeprefix("/api/v1"),
                dict(parse_qsl(parts.query)),
                headers,
                self.rfile.read(length),
            )
            fake.requests.append(request)
            answer = fake.answer(request)
            self.close_connection = True
            if answer.status == 0:
                return
            pieces = answer.pieces if answer.pieces is not None else [json.dumps(answer.value).encode()]
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Connection", "close")
            if answer.pieces is None:
                self.send_header("Content-Length", str(len(pieces[0])))
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()

        do_GET = do_POST = do_DELETE = _serve

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield fake
        server.shutdown()
        thread.join()
