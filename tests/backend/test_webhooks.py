"""Webhooks: told at least once, signed, tried again, and never to a private address unless allowed."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from backend.webhook_addresses import RefusedAddressError, resolve, shown
from backend.webhooks import LOOK_S, PAUSES_S, REST_S, Webhooks, sign
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
    """Returns a run that is launched and cancelled after a turn."""
    hooks.turn(0.0)
    return cancelled_run(backend)


def cancelled_run(backend: Backend) -> str:
    run = backend.http.post("/runs", json={"preset": "demo", "name": "told", "tags": ["a"]}).json()["id"]
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
    ended_run(backend, first)
    before = backend.services.redis.get(keys.WEBHOOK_MARK)
    first.turn(1.0)
    backend.services.redis.set(keys.WEBHOOK_MARK, str(before))  # as if it had ended before it moved the mark
    receiver.status = 204
    webhooks(backend, receiver.url).turn(100.0)
    assert len(receiver.got) == 2
    assert len({json.loads(body)["id"] for _, body in receiver.got}) == 1
    assert first.waiting() == []


def test_ends_while_no_backend_runs_are_told_and_those_before_a_webhook_was_set_are_not(
    backend: Backend, receiver: Receiver
) -> None:
    ended_run(backend, webhooks(backend, receiver.url, webhook_url=()))
    run = ended_run(backend, webhooks(backend, receiver.url))
    for second in (1.0, 2.0):
        webhooks(backend, receiver.url).turn(second)  # each as after a restart
    assert [json.loads(body)["run"]["id"] for _, body in receiver.got] == [run]
    ended_run(backend, webhooks(backend, receiver.url, webhook_url=()))  # the webhook is taken away for a while
    webhooks(backend, receiver.url).turn(3.0)
    assert len(receiver.got) == 1


def test_each_end_of_a_run_that_is_resumed_is_told(backend: Backend, receiver: Receiver) -> None:
    hooks = webhooks(backend, receiver.url)
    run = ended_run(backend, hooks)
    hooks.turn(1.0)
    assert backend.http.post(f"/runs/{run}/resume").is_success
    backend.http.post(f"/runs/{run}/cancel")
    hooks.turn(1.0 + LOOK_S)
    assert [json.loads(body)["run"]["attempt"] for _, body in receiver.got] == [1, 2]


def test_a_dead_address_holds_up_no_other(backend: Backend, receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = f"http://localhost:{closed.getsockname()[1]}/"
    hooks = webhooks(backend, receiver.url, webhook_url=(dead, receiver.url))
    hooks.turn(0.0)
    runs = [cancelled_run(backend) for _ in range(3)]
    tries = []
    for now in (1.0, 2.0, 1.0 + REST_S, 2.0 + REST_S):
        hooks.turn(now)
        tries.append(sum(message.tries for message in hooks.waiting()))
        assert [json.loads(body)["run"]["id"] for _, body in receiver.got] == runs
    assert tries == [1, 1, 2, 2]  # of all that waits for the dead one


def test_a_turn_sends_for_so_long_and_the_next_one_goes_on(
    backend: Backend, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.webhooks.SEND_S", 0.0)
    hooks = webhooks(backend, receiver.url)
    hooks.turn(0.0)
    runs = [cancelled_run(backend) for _ in range(3)]
    for told in (1, 2, 3):
        hooks.turn(1.0)
        assert len(receiver.got) == told
    assert {json.loads(body)["run"]["id"] for _, body in receiver.got} == set(runs)


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
