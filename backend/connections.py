"""HTTP connections within bounds: size and number of headers, time for a request to arrive and for an answer to leave.

`uvicorn --http backend.connections:BoundedHttp`. Uvicorn itself waits for ever for a head that never ends, for a body
that drips in, and for a client that does not read; each such client would keep a descriptor. Here each connection is
looked at every few seconds, and one that is late is closed. It costs nobody else anything: no thread waits for it.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from backend.problems import MEDIA_TYPE
from worker.contract.errors import Problem

_TITLES = {400: "No valid HTTP", 408: "Too slow", 431: "Too many headers"}


class _HeadTooLargeError(Exception):
    """Stops the parser."""


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    max_head_bytes = 64 * 1024
    """Of the request line and all headers."""
    max_headers = 100
    head_s = 10.0
    """For a whole head to come, from the connection's or the last answer's end."""
    body_s = 30.0
    """For a body to come, and more for each byte that came: as many seconds as it takes at `body_bytes_per_s`."""
    body_bytes_per_s = 8 * 1024
    answer_s = 300.0
    """For a client to take the next part of an answer; a player that is paused does not read for a while."""
    look_every_s = 2.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to watch the clock."""
        super().connection_made(transport)
        self._head_bytes = self._body_bytes = 0
        self._in_body = False
        self._since = self._taken_since = self.loop.time()
        self._unsent = 0
        self._fault: tuple[int, str] | None = None
        self._look = self.loop.call_later(self.look_every_s, self._close_if_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the watch."""
        self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts what comes, and refuses a head that is too large before all of it lies in memory."""
        if not self._in_body:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_body and self._head_bytes > self.max_head_bytes and not self.transport.is_closing():
            self._fault = self._head_too_large()
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begins a request."""
        super().on_message_begin()
        self._url_bytes = self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Takes a part of the request line."""
        self._url_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header."""
        self._header_bytes += len(name) + len(value)
        if len(self.headers) >= self.max_headers or self._url_bytes + self._header_bytes > self.max_head_bytes:
            self._fault = self._head_too_large()
            raise _HeadTooLargeError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hands the request on; its body may follow."""
        self._head_bytes, self._body_bytes, self._in_body, self._since = 0, 0, True, self.loop.time()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Takes a part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends a request."""
        self._head_bytes, self._in_body = 0, False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Waits for the next head from now on."""
        if not self._in_body:
            self._since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answers what cannot be answered by the app, as a problem document, and closes."""
        status, detail = self._fault or (
            400,
            f"{msg} Send HTTP/1.1, with one Content-Length or chunks, no bare CR or LF.",
        )
        problem = Problem(title=_TITLES[status], status=status, detail=detail, code=f"http-{status}")
        body = problem.model_dump_json(exclude_none=True).encode()
        head = f"HTTP/1.1 {status} {_TITLES[status]}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """There is no WebSocket here: the request is answered as the plain one that it also is."""

    def _head_too_large(self) -> tuple[int, str]:
        return 431, f"Expected a head of at most {self.max_head_bytes:,} bytes and {self.max_headers} headers."

    def _close_if_late(self) -> None:
        self._look = self.loop.call_later(self.look_every_s, self._close_if_late)
        now = self.loop.time()
        self._watch_reader(now)
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        if self._in_body:
            if self.flow.read_paused:
                self._since = now  # we are slow, not the client
            elif now - self._since > self.body_s + self._body_bytes / self.body_bytes_per_s:
                self._give_up("The body")
        elif not answering and now - self._since > self.head_s:
            self._give_up("A request")

    def _give_up(self, what: str) -> None:
        answered = self.cycle is not None and (self.cycle.response_started or self.cycle.response_complete)
        if answered or not (self._in_body or self._head_bytes):
            self.transport.close()
        else:
            self._fault = (408, f"{what} did not arrive in time. Send it again, in one go.")
            self.send_400_response("")

    def _watch_reader(self, now: float) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._taken_since = unsent, now
        elif now - self._taken_since > self.answer_s:
            self.transport.abort()
