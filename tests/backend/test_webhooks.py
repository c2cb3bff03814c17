"""Webhooks: told at least once, signed, tried again, and never to a private address unless allowed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from backend.webhook_addresses import RefusedAddressError, resolve, shown
from backend.webhooks import PAUSES_S, Webhooks, sign
from tests.backend.conftest import Backend, serving, settings_for, wait_for
from worker.contract import keys
from worker.contract.settings import load_settings


class Receiver:
    """A real HTTP server that keeps what it is told and answers what it is asked to."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], str]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.status)
                if receiver.status == 302:
                    self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self._server.server_port}/hooks/secret-part?x=1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


def webhooks(backend: Backend, url: str, **changes: Any) -> Webhooks:
    settings = backend.services.settings.model_copy(
        update={"webhook_url": (url,), "webhook_allow_private": True, "ui_origin": "http://ui.test", **changes}
    )
    return Webhooks(settings, backend.services.redis, backend.ledger)


def ended_run(backend: Backend, hooks: Webhooks) -> str:
    """Launches a run, lets the webhooks see it, and cancels it."""
    run = backend.http.post("/runs", json={"preset": "demo", "name": "told", "tags": ["a"]}).json()["id"]
    hooks.turn(0.0)
    backend.http.post(f"/runs/{run}/cancel")
    return str(run)


def test_end_of_a_run_is_told_once_signed_with_its_link(backend: Backend, receiver: Receiver) -> None:
    hooks = webhooks(backend, receiver.url, webhook_secret=SecretStr("s3cret"))
    run = ended_run(backend, hooks)
    assert receiver.got == []
    for second in (1.0, 2.0, 3.0):
        hooks.turn(second)
    ((headers, body),) = receiver.got
    said = json.loads(body)
    assert (said["type"], said["run"]["id"], said["run"]["name"]) == ("run.cancelled", run, "told")
    assert (said["run"]["state"], said["run"]["tags"]) == ("cancelled", ["a"])
    assert said["link"] == f"http://ui.test/run?run={run}"
    assert said["id"] == headers["x-gapscope-delivery"]
    assert headers["x-gapscope-signature"] == sign("s3cret", headers["x-gapscope-timestamp"], body)
    assert headers["host"].startswith("localhost:")
    (status,) = hooks.status()
    assert (status.delivered, status.waiting, status.failure) == ("run.cancelled", 0, None)
    assert "secret-part" not in status.model_dump_json()


def test_refused_message_is_tried_again_with_the_same_id_then_given_up(backend: Backend, receiver: Receiver) -> None:
    hooks = webhooks(backend, receiver.url)
    receiver.status = 500
    ended_run(backend, hooks)
    now = 1.0
    hooks.turn(now)
    for pause in PAUSES_S:
        hooks.turn(now + pause / 2)
        now += pause + 0.1
        hooks.turn(now)
    assert len(receiver.got) == 1 + len(PAUSES_S)
    assert len({json.loads(body)["id"] for _, body in receiver.got}) == 1
    assert hooks.waiting() == []
    assert hooks.status()[0].failure == "answered 500"


def test_message_survives_a_backend_that_ends_between_any_two_steps(backend: Backend, receiver: Receiver) -> None:
    first = webhooks(backend, receiver.url)
    receiver.status = 503
    run = ended_run(backend, first)
    first.turn(1.0)
    backend.services.redis.sadd(keys.WEBHOOK_RUNS, run)  # as if it had ended before it took the run off
    receiver.status = 204
    webhooks(backend, receiver.url).turn(100.0)
    assert len({json.loads(body)["id"] for _, body in receiver.got}) == 1
    assert first.waiting() == []


def test_redirect_is_not_followed_and_private_addresses_are_refused(backend: Backend, receiver: Receiver) -> None:
    receiver.status = 302
    assert webhooks(backend, receiver.url).test()[0].failure == "answered 302"
    assert len(receiver.got) == 1
    (status,) = webhooks(backend, receiver.url, webhook_allow_private=False).test()
    assert "GAPSCOPE_WEBHOOK_ALLOW_PRIVATE=true" in str(status.failure)
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://[::1]/", "http://10.1.2.3/", "http://169.254.169.254/latest", "http://0.0.0.0/",
        "http://[::ffff:127.0.0.1]/", "http://[2002:7f00:1::]/", "http://192.168.0.1/", "http://224.0.0.1/",
        "http://2130706433/", "ftp://example.org/", "http:///x", "http://[", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_address_that_is_none_of_the_public_ones_is_refused(url: str) -> None:
    with pytest.raises(RefusedAddressError):
        resolve(url, allow_private=False)


def test_public_address_is_called_as_it_was_checked() -> None:
    target = resolve("https://1.1.1.1/hook?x=1", allow_private=False)
    assert (target.url, target.authority) == ("https://1.1.1.1:443/hook?x=1", "1.1.1.1")
    assert shown("https://user:pass@hooks.example/T0/secret") == "https://hooks.example/…"


def test_running_server_tells_by_itself_and_sends_tests(tmp_path: Path, valkey_url: str, receiver: Receiver) -> None:
    settings = settings_for(tmp_path / "home", valkey_url, webhook_url=(receiver.url,), webhook_allow_private=True)
    with serving(settings) as backend:
        (item,) = backend.http.post("/system/webhooks/test").json()["items"]
        assert (item["delivered"], item["failure"]) == ("test", None)
        run = backend.http.post("/runs", json={"preset": "demo"}).json()["id"]
        wait_for(lambda: backend.services.redis.sismember(keys.WEBHOOK_RUNS, run), "the run is awaited")
        backend.http.post(f"/runs/{run}/cancel")
        wait_for(lambda: len(receiver.got) == 2, "the message")
        assert json.loads(receiver.got[1][1])["run"]["id"] == run
        wait_for(lambda: backend.get("/system")["webhooks"][0]["delivered"] == "run.cancelled", "the status")


def test_lists_of_the_environment_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPSCOPE_WEBHOOK_URL", "https://a.example/x, https://b.example/y,")
    monkeypatch.setenv("GAPSCOPE_DEVICES", "0,1")
    settings = load_settings()
    assert settings.webhook_url == ("https://a.example/x", "https://b.example/y")
    assert settings.devices == (0, 1)
