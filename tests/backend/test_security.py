"""What other web pages, long bodies and repeated requests may do."""

from __future__ import annotations

import gzip
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from backend.problems import ForbiddenError
from backend.security import MediaSigner, OriginGuard
from tests.backend.conftest import UI, Backend, run_apart
from worker.contract.hosts import is_loopback, own_origins
from worker.contract.settings import Settings

DEMO = {"preset": "demo"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Host": "["},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8000"},
    ],
)
def test_another_web_page_can_change_nothing(backend: Backend, headers: dict[str, str]) -> None:
    backend.problem(backend.http.post("/runs", json=DEMO, headers=headers), 403, "forbidden-origin")
    backend.problem(backend.http.delete("/runs/x", headers=headers), 403, "forbidden-origin")
    assert list(backend.home.runs.iterdir()) == []


def test_another_host_name_reaches_nothing_and_gets_no_cors_headers(backend: Backend) -> None:
    backend.problem(backend.http.get("/runs", headers={"Host": "evil.example"}), 403, "forbidden-origin")
    foreign = backend.http.get("/runs", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


@pytest.mark.parametrize("origin", [UI, UI.replace("127.0.0.1", "localhost"), None, "own"])
def test_the_ui_and_scripts_are_let_in(backend: Backend, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": backend.url if origin == "own" else origin}
    if origin not in (None, "own"):
        headers["Sec-Fetch-Site"] = "same-site"
    response = backend.http.post("/runs", json=DEMO, headers=headers)
    assert response.status_code == 202
    if origin not in (None, "own"):
        assert response.headers["access-control-allow-origin"] == origin
        assert "location" in response.headers["access-control-expose-headers"].lower()


def status_behind_a_published_port(method: str, headers: dict[str, str]) -> int:
    """Returns how the guard answers where the server listens on a container's address, not on loopback."""
    statuses = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def keep(message: Message) -> None:
        statuses.append(message.get("status"))

    async def nothing() -> Message:
        return {"type": "http.request"}

    scope = {
        "type": "http",
        "method": method,
        "path": "/api/v1/runs",
        "server": ("172.18.0.3", 8000),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    settings = Settings(home=Path("home"), public_url="http://gpu.lab.example:8000", ui_origin=UI)
    run_apart(OriginGuard(app, settings)(scope, nothing, keep))
    assert isinstance(statuses[0], int)
    return statuses[0]


def test_a_name_made_to_point_to_a_published_port_reaches_nothing() -> None:
    rebound = {"Host": "evil.example:8000", "Origin": "http://evil.example:8000", "Sec-Fetch-Site": "same-origin"}
    assert status_behind_a_published_port("POST", rebound) == 403
    assert status_behind_a_published_port("GET", {"Host": "evil.example:8000"}) == 403
    for host in ("127.0.0.1:8000", "localhost:8000", "gpu.lab.example:8000", "backend:8000", "192.0.2.7:8000"):
        assert status_behind_a_published_port("GET", {"Host": host}) == 200


def test_body_over_its_limit_is_refused_with_and_without_its_length(backend: Backend) -> None:
    large = b'{"name": "' + b"x" * (2 * 1024 * 1024) + b'"}'
    headers = {"Content-Type": "application/json"}
    backend.problem(backend.http.post("/runs", content=large, headers=headers), 413, "body-too-large")
    pieces = (large[start : start + 65_536] for start in range(0, len(large), 65_536))
    backend.problem(backend.http.post("/runs", content=pieces, headers=headers), 413, "body-too-large")


def test_a_compressed_body_is_refused_unread(backend: Backend) -> None:
    packed = gzip.compress(b'{"preset": "demo", "name": "' + b" " * 10_000_000 + b'"}')
    for encoding in ("gzip", "x-gzip, identity", "br", "zstd"):
        headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
        backend.problem(backend.http.post("/runs", content=packed, headers=headers), 415, "encoded-body")
    plain = backend.http.post("/runs/estimate", json=DEMO, headers={"Content-Encoding": "identity"})
    assert plain.status_code == 200


def test_unknown_parameters_routes_and_methods_are_problems(backend: Backend) -> None:
    backend.problem(backend.http.get("/runs", params={"stat": "queued"}), 422, "unknown-parameter")
    backend.problem(backend.http.get("/health/live", params={"x": "1"}), 422, "unknown-parameter")
    backend.problem(backend.http.get("/runs?limit=1&limit=2"), 422, "invalid-request")
    backend.problem(backend.http.get("/nothing"), 404, "no-such-route")
    backend.problem(backend.http.put("/runs"), 405, "method-not-allowed")
    broken = backend.http.post("/runs", content=b"{", headers={"Content-Type": "application/json"})
    backend.problem(broken, 422, "invalid-request")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/runs", "GET, POST"), ("/runs/x", "DELETE, GET, PATCH"), ("/trash", "DELETE, GET"), ("/runs/x/log", "GET")],
)
def test_a_wrong_method_is_told_all_right_ones(backend: Backend, path: str, allowed: str) -> None:
    response = backend.http.put(path)
    backend.problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allowed


def test_same_key_and_body_is_the_same_run(backend: Backend) -> None:
    headers = {"Idempotency-Key": "one"}
    first = backend.http.post("/runs", json=DEMO, headers=headers)
    again = backend.http.post("/runs", json=DEMO, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    other = backend.http.post("/runs", json={"preset": "demo-joint"}, headers=headers)
    backend.problem(other, 422, "idempotency-key-reused")
    assert len(backend.get("/runs")["items"]) == 1
    for key in ("x" * 300, "a b", "\u00e9".encode("latin-1")):
        response = backend.http.post("/runs", json=DEMO, headers={"Idempotency-Key": key})
        backend.problem(response, 422, "invalid-idempotency-key")


def test_refused_request_may_be_tried_again_under_its_key(backend: Backend) -> None:
    headers = {"Idempotency-Key": "two"}
    assert backend.http.post("/runs", json={"preset": "none"}, headers=headers).status_code == 422
    assert backend.http.post("/runs", json=DEMO, headers=headers).status_code == 202


def test_signature_is_bound_to_path_track_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = MediaSigner.of_home(tmp_path)
    assert (tmp_path / "media.key").stat().st_mode & 0o777 == 0o600
    url = httpx.URL(signer.address("/a b/c#d", "video"))
    assert url.path == "/a b/c#d"
    expires, signature = int(url.params["expires"]), url.params["signature"]
    same = MediaSigner.of_home(tmp_path)
    same.check("/a b/c#d", "video", expires, signature)
    refused: list[tuple[Any, ...]] = [
        ("/other", "video", expires, signature),
        ("/a b/c#d", "audio", expires, signature),
        ("/a b/c#d", "video", expires + 1, signature),
        ("/a b/c#d", "video", None, None),
        ("/a b/c#d", "video", expires, None),
    ]
    for arguments in refused:
        with pytest.raises(ForbiddenError):
            same.check(*arguments)
    later = time.time() + 7_200
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(ForbiddenError) as caught:
        same.check("/a b/c#d", "video", expires, signature)
    assert caught.value.code == "signature-expired"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("localhost", True), ("[::1]", True), ("::1", True),
     ("10.0.0.1", False), ("localhost.evil.example", False), ("", False), ("0.0.0.0", False)],
)  # fmt: skip
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_ui_on_another_host_is_its_one_spelling(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, ui_origin="https://ui.example/")
    assert own_origins(settings.ui_origin) == ["https://ui.example"]


def test_the_documentation_is_whole_without_the_internet(backend: Backend) -> None:
    with httpx.Client(base_url=backend.url, follow_redirects=True) as http:
        page = http.get("/")
        assert page.url.path == "/docs"
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(loaded) == 3
        for address in loaded:
            assert address.startswith("/docs-assets/"), address
            assert len(http.get(address).content) > 1_000


@pytest.mark.parametrize("path", ["/scores", "/datasets/upload"])
@pytest.mark.parametrize("kind", ["application/zip", "application/json", "multipart/mixed", ""])
def test_only_a_form_may_be_as_long_as_an_upload(backend: Backend, path: str, kind: str) -> None:
    body = b"x" * (backend.services.settings.max_body_bytes + 1)
    headers = {"Idempotency-Key": "k", **({"Content-Type": kind} if kind else {})}
    backend.problem(backend.http.post(path, content=body, headers=headers), 413, "body-too-large")
