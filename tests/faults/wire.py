"""Requests that no client library would send, byte by byte: broken lines, headers, lengths, chunks and encodings."""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.faults.api_target import ApiTarget

ANSWER_S = 10.0
"""A whole request is answered, or its connection closed, within so many seconds."""
IDS = (
    "..", ".", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2f", "/etc/passwd", "%00", "a%00b", "%ff%fe",
    "%ed%a0%80", "%c0%ae%c0%ae/", "CON", "a" * 65, "a" * 5_000, "%0d%0aX: y", "..;/", "\\..\\..", "%252e%252e%252f",
    "run-1/../../x", "\u00e9", "e%cc%81", "%E2%80%AE", "*", "{run_id}", "~root", "$HOME", "`id`", "'--", "1e999", "-0",
)  # fmt: skip
VALUES = ("NaN", "inf", "-Infinity", "1e400", "9" * 400, "-9223372036854775809", "18446744073709551616", "%00", "%ff",
          "%ed%a0%80", "", "null", "[]", "{}", "true", "0x10", "1_000", "\u0661", "%F0%9F%98%80" * 200)  # fmt: skip
PATHS = (
    "/api/v1/runs/{}", "/api/v1/runs/{}/log", "/api/v1/runs/{}/samples/{}", "/api/v1/runs/{}/export",
    "/api/v1/datasets/{}", "/api/v1/datasets/{}/samples/{}/media", "/api/v1/datasets/{}/samples/{}/poster",
    "/api/v1/scores/{}", "/api/v1/scores/{}/media", "/api/v1/scores/batch/{}/table", "/api/v1/subsets/{}/export",
    "/api/v1/trash/{}", "/{}", "/docs/{}", "/api/v1/{}",
)  # fmt: skip
NAMES = ("epoch", "limit", "cursor", "min_gap", "max_gap", "quality", "label", "sort", "after", "tail", "track",
         "expires", "signature", "since", "text", "tag", "runs", "split")  # fmt: skip
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "get", "QUERY", "PROPFIND", "")
JSON = (
    b'{"preset": "demo", "epochs": 1e400}', b'{"preset": "demo", "seed": NaN}', b'{"preset": "\\ud800"}',
    b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe{}", b'{"preset": "demo", "preset": 1}', b"null", b"", b'"',
    b"{" + b" " * 100_000,
    b'{"preset": "demo", "name": "\\u0000"}', b'{"dataset": {"kind": "folder", "path": "\\ud800"}}',
    b'{"dataset": {"kind": "folder", "path": "/etc/../\\u0000"}}',
    b'{"preset": "demo", "epochs": ' + b"9" * 5_000 + b"}",
)  # fmt: skip

Maker = Callable[[random.Random, ApiTarget, str], bytes]


def _head(method: str, path: str, host: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def _odd_path(draw: random.Random, target: ApiTarget, host: str) -> bytes:
    known = (target.run_id, target.dataset_id, target.sample_id)
    template = draw.choice(PATHS)
    path = template.format(*(draw.choice(IDS if draw.random() < 0.7 else known) for _ in range(template.count("{}"))))
    query = "&".join(f"{draw.choice(NAMES)}={draw.choice(VALUES)}" for _ in range(draw.randrange(3)))
    return _head(draw.choice(("GET",) * 8 + METHODS), f"{path}?{query}" if query else path, host)


def _odd_body(draw: random.Random, target: ApiTarget, host: str) -> bytes:
    path = draw.choice(("/api/v1/runs", "/api/v1/runs/estimate", "/api/v1/datasets", "/api/v1/datasets/check",
                        "/api/v1/subsets", "/api/v1/scores", "/api/v1/scores/batch", f"/api/v1/runs/{target.run_id}",
                        "/api/v1/access/tickets", f"/api/v1/datasets/{target.dataset_id}/annotations"))  # fmt: skip
    body = draw.choice(JSON)
    kind = draw.choice(("application/json", "application/json; charset=utf-16", "text/plain", "multipart/form-data"))
    length = draw.choice((f"Content-Length: {len(body)}",) * 4 + ("Transfer-Encoding: chunked",))
    sent = body if length.startswith("C") else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    return _head(draw.choice(("POST", "PATCH", "PUT")), path, host, f"Content-Type: {kind}", length) + sent


def _odd_headers(draw: random.Random, target: ApiTarget, host: str) -> bytes:
    lines = draw.sample(
        [
            "Content-Length: -1", "Content-Length: 1e3", "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 99999999999999999999999", "Content-Length: +2", "Content-Length: \u0662",
            "Transfer-Encoding: gzip", "Transfer-Encoding: chunked\r\nContent-Length: 3", "Content-Encoding: gzip",
            "Range: bytes=-0", "Range: bytes=9-1", "Range: bytes=0-0,1-1,2-2", "Range: bytes=" + "0-1," * 2_000,
            "Range: lines=1-2", "Range: bytes=" + "9" * 400 + "-", "If-Range: x", "Last-Event-ID: \u00ff",
            "Last-Event-ID: " + "9" * 400, "Idempotency-Key: \x01",
            "Idempotency-Key: " + "k" * 5_000, "X: " + "x" * 9_000,
            "Cookie: " + "a=b; " * 1_000, "Authorization: Bearer " + "\u00e9" * 50,
            "Upgrade: websocket\r\nConnection: Upgrade",
            "Expect: 100-continue", "Accept-Encoding: " + "gzip," * 500, "Origin: http://[", "Origin: \u00ff",
            "Host: [",
            "Host: a\r\nHost: b", " folded: yes", "no colon at all", ": no name", "X\x00Y: 1", "X: a\nY: b",
        ],
        draw.randrange(1, 4),
    )  # fmt: skip
    path = draw.choice(PATHS[:12]).format(target.run_id, target.sample_id)
    return _head(draw.choice(("GET", "POST", "DELETE")), path, host, *lines) + b"abc"


def _noise(draw: random.Random, target: ApiTarget, host: str) -> bytes:
    """A valid request with some bytes changed, dropped or repeated; or nothing but noise."""
    data = bytearray(_odd_path(draw, target, host))
    if draw.random() < 0.1:
        return draw.randbytes(draw.randrange(1, 2_000)) + b"\r\n\r\n"
    for _ in range(draw.randrange(1, 6)):
        place = draw.randrange(len(data))
        data[place : place + draw.randrange(2)] = draw.randbytes(draw.randrange(3))
    return bytes(data) + b"\r\n\r\n"


MAKERS: tuple[Maker, ...] = (_odd_path, _odd_path, _odd_body, _odd_headers, _noise)


def wire_faults(target: ApiTarget, seed: int, count: int) -> tuple[Counter[int], dict[str, str]]:
    """Returns how broken requests were answered (0: closed without an answer), and what was wrong with the answers.

    Args:
        target: what they are sent to.
        seed: of the requests.
        count: how many.
    """
    draw, host = random.Random(seed), urlsplit(target.url).netloc
    statuses: Counter[int] = Counter()
    faults: dict[str, str] = {}
    for _ in range(count):
        request = draw.choice(MAKERS)(draw, target, host)
        begun = time.monotonic()
        status, answer = send(host, request)
        statuses[status] += 1
        if status >= 500 or (status == 0 and answer) or time.monotonic() - begun > ANSWER_S:
            first = request.split(b"\r\n")[0][:80]
            faults.setdefault(f"wire: {status} after {first!r}", f"{request[:1_500]!r} -> {answer[:300]!r}")
    return statuses, faults


def send(host: str, request: bytes) -> tuple[int, bytes]:
    """Returns the status (0 where the connection was closed without one) and the beginning of the answer."""
    name, _, port = host.rpartition(":")
    answer = b""
    with socket.create_connection((name, int(port)), timeout=ANSWER_S) as wire:
        try:
            wire.sendall(request)
            wire.shutdown(socket.SHUT_WR)  # nothing more comes: a server that waits for the rest of a body gives up
            while len(answer) < 65_536 and (block := wire.recv(65_536)):
                answer += block
        except TimeoutError:
            return 0, answer or b"(nothing in time)"
        except OSError:
            pass  # closed in the middle: what has come counts
    parts = answer.split(b" ", 2)
    return (int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0), answer
