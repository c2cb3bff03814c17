"""Who is let in, with which key, to do what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.access.keys import CorruptKeysError, KeyStore, Role
from backend.access.rates import RateLimit
from backend.access.roots import require_still_open
from tests.backend.conftest import Backend, serving
from worker.contract.errors import ConflictError, GapscopeError, InvalidRequestError, NotFoundError
from worker.contract.layout import Home
from worker.contract.settings import Settings, load_settings

DEMO = {"preset": "demo"}


@pytest.fixture
def closed(valkey_server: Any, tmp_path: Path) -> Iterator[Backend]:
    """A backend that asks for keys, though on loopback."""
    with serving(Settings(home=tmp_path / "home", redis_url=valkey_server.url, auth="on")) as backend:
        yield backend


def bearer(backend: Backend, role: Role, name: str = "") -> dict[str, str]:
    _, secret = backend.services.keys.create(name or role, role)
    return {"Authorization": f"Bearer {secret}"}


def audit(backend: Backend) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (backend.home.path / "logs" / "audit.jsonl").read_text().splitlines()]


def test_without_a_key_nothing_answers_but_the_sign_of_life(closed: Backend) -> None:
    routes = ["/runs", "/catalog", "/system", "/datasets", "/access/me", "/health/ready", "/openapi.json", "/no-such"]
    for path in routes:
        response = closed.http.get(path)
        closed.problem(response, 401, "key-needed")
        assert response.headers["www-authenticate"] == "Bearer"
    assert httpx.get(f"{closed.url}/docs").status_code == 401
    closed.problem(closed.http.post("/runs", json=DEMO), 401, "key-needed")
    assert closed.http.get("/health/live").status_code == 200


@pytest.mark.parametrize("secret", ["x", "gsk_000000000000_" + 43 * "A", "gsk_" + 200 * "a", "Ω", "../keys.json"])
def test_a_wrong_key_is_refused_in_words(closed: Backend, secret: str) -> None:
    headers = [(b"authorization", b"Bearer " + secret.encode())]
    response = closed.http.get("/runs", headers=headers)
    closed.problem(response, 401, "key-invalid")
    assert len(secret) < 5 or secret not in response.text


def test_roles_reach_what_they_name_and_no_more(closed: Backend) -> None:
    reader, runner, admin = (bearer(closed, role) for role in ("reader", "runner", "admin"))
    assert closed.http.get("/runs", headers=reader).status_code == 200
    assert closed.http.post("/runs/estimate", json=DEMO, headers=reader).status_code == 200
    closed.problem(closed.http.post("/runs", json=DEMO, headers=reader), 403, "role-too-low")
    made = closed.http.post("/runs", json=DEMO, headers=runner)
    assert made.status_code == 202
    address = f"/runs/{made.json()['id']}"
    assert closed.http.post(f"{address}/cancel", headers=runner).status_code == 202
    closed.problem(closed.http.delete(address, params={"purge": "true"}, headers=runner), 403, "role-too-low")
    closed.problem(closed.http.delete("/datasets/x", headers=runner), 403, "role-too-low")
    closed.problem(closed.http.delete("/trash/run-x", headers=runner), 403, "role-too-low")
    closed.problem(closed.http.post("/system/webhooks/test", headers=runner), 403, "role-too-low")
    closed.problem(closed.http.patch(address, json={"name": "x"}, headers=reader), 403, "role-too-low")
    assert closed.http.patch(address, json={"name": "x"}, headers=runner).status_code == 200
    closed.problem(closed.http.delete("/datasets/x", headers=admin), 404, "dataset-not-found")
    assert closed.http.delete(address, params={"purge": "true"}, headers=admin).status_code == 200
    assert closed.http.get("/access/me", headers=runner).json() == {
        "name": "runner",
        "role": "runner",
        "needs_key": True,
    }


def test_a_revoked_key_is_refused_at_once_and_its_tickets_with_it(closed: Backend) -> None:
    headers = bearer(closed, "reader", "Ada")
    assert closed.http.get("/runs", headers=headers).status_code == 200
    ticket = closed.http.post("/access/tickets", json={"path": "/api/v1/runs"}, headers=headers).json()["address"]
    assert httpx.get(closed.url + ticket).status_code == 200
    KeyStore(closed.home.path).revoke("Ada")
    closed.problem(closed.http.get("/runs", headers=headers), 401, "key-invalid")
    closed.problem(httpx.get(closed.url + ticket), 401, "ticket-invalid")


def test_a_ticket_opens_one_address_by_one_method(closed: Backend) -> None:
    headers = bearer(closed, "runner")
    address = closed.http.post("/access/tickets", json={"path": "/api/v1/runs"}, headers=headers).json()["address"]
    assert httpx.get(f"{closed.url}{address}&limit=1").status_code == 200
    closed.problem(httpx.post(closed.url + address, json=DEMO), 401, "ticket-invalid")
    other = address.replace("/runs", "/datasets")
    closed.problem(httpx.get(closed.url + other), 401, "ticket-invalid")
    closed.problem(httpx.get(closed.url + address[:-1] + ("0" if address[-1] != "0" else "1")), 401, "ticket-invalid")


def test_a_reader_gets_no_more_through_a_ticket(closed: Backend) -> None:
    asked = {"method": "POST", "path": "/api/v1/runs"}
    headers = bearer(closed, "reader")
    address = closed.http.post("/access/tickets", json=asked, headers=headers).json()["address"]
    closed.problem(httpx.post(closed.url + address, json=DEMO), 403, "role-too-low")


def test_who_changed_what_and_who_was_refused_is_written_down_without_secrets(closed: Backend) -> None:
    headers = bearer(closed, "runner", "Grace")
    closed.http.get("/runs", headers=headers)
    closed.http.post("/runs", json=DEMO, headers=headers)
    closed.http.post("/runs", json=DEMO, headers={"Authorization": "Bearer gsk_guess"})
    lines = audit(closed)
    assert [(line["method"], line["status"]) for line in lines] == [("POST", 202), ("POST", 401)]
    assert lines[0]["caller"].startswith("Grace (")
    assert (lines[0]["role"], lines[1]["caller"]) == ("runner", "refused")
    text = (closed.home.path / "logs" / "audit.jsonl").read_text() + (closed.home.path / "keys.json").read_text()
    assert headers["Authorization"].removeprefix("Bearer ") not in text
    assert "gsk_" not in text
    assert (closed.home.path / "keys.json").stat().st_mode & 0o777 == 0o600


def test_one_callers_answer_is_not_replayed_to_another(closed: Backend) -> None:
    one, other = bearer(closed, "runner", "one"), bearer(closed, "runner", "other")
    made = [
        closed.http.post("/runs", json=DEMO, headers={**headers, "Idempotency-Key": "same"}).json()["id"]
        for headers in (one, other, one)
    ]
    assert made[0] == made[2] != made[1]


def test_too_many_requests_of_one_key_are_put_off(valkey_server: Any, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", redis_url=valkey_server.url, auth="on", requests_per_minute=60)
    with serving(settings) as backend:
        busy, calm = bearer(backend, "reader", "busy"), bearer(backend, "reader", "calm")
        answers = [backend.http.get("/access/me", headers=busy) for _ in range(14)]
        assert [answer.status_code for answer in answers[:10]] == [200] * 10
        put_off = next(answer for answer in answers if answer.status_code == 429)
        backend.problem(put_off, 429, "rate-limited")
        assert int(put_off.headers["retry-after"]) >= 1
        assert backend.http.get("/access/me", headers=calm).status_code == 200


def test_guessing_is_slowed_down(closed: Backend) -> None:
    statuses = {closed.http.get("/runs", headers={"Authorization": "Bearer gsk_x"}).status_code for _ in range(12)}
    assert statuses == {401, 429}


def test_on_loopback_no_key_is_needed_and_changes_are_written_down(backend: Backend) -> None:
    assert backend.http.get("/access/me").json() == {"name": "local", "role": "admin", "needs_key": False}
    assert backend.http.post("/runs", json=DEMO).status_code == 202
    assert audit(backend)[-1]["caller"] == "local"
    backend.problem(backend.http.post("/access/tickets", json={"path": "/api/v1/runs"}), 422, "no-ticket-needed")


def test_a_bucket_fills_up_evenly() -> None:
    now = [0.0]
    limit = RateLimit(60, clock=lambda: now[0])
    assert [limit.wait_s("a") for _ in range(10)] == [0.0] * 10
    assert limit.wait_s("a") == pytest.approx(1.0)
    now[0] = 1.0
    assert limit.wait_s("a") == 0.0
    assert limit.wait_s("a") > 0
    assert limit.wait_s("b") == 0.0


def test_keys_have_names_of_their_own(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    key, secret = store.create("Ada", "admin")
    with pytest.raises(ConflictError):
        store.create("Ada", "reader")
    for name in ("", " x", "a\nb", "a" * 65, "../x"):
        with pytest.raises(InvalidRequestError):
            store.create(name, "reader")
    assert store.find(secret) == key
    store.revoke(key.id)
    assert store.find(secret) is None
    with pytest.raises(NotFoundError):
        store.revoke("Ada")
    again, _ = store.create("Ada", "reader")
    assert [one.id for one in store.all()] == [key.id, again.id]


def test_a_damaged_file_of_keys_lets_nobody_in(closed: Backend) -> None:
    headers = bearer(closed, "admin")
    (closed.home.path / "keys.json").write_text("{")
    closed.problem(closed.http.get("/runs", headers=headers), 503, "keys-unreadable")
    with pytest.raises(CorruptKeysError) as caught:
        KeyStore(closed.home.path).create("x", "admin")
    assert isinstance(caught.value, GapscopeError)


@pytest.fixture
def rooted(valkey_server: Any, tmp_path: Path) -> Iterator[Backend]:
    """A backend whose owner has opened one folder."""
    (tmp_path / "open").mkdir()
    (tmp_path / "secret").mkdir()
    settings = Settings(home=tmp_path / "home", redis_url=valkey_server.url, data_roots=(tmp_path / "open",))
    with serving(settings) as backend:
        yield backend


@pytest.mark.parametrize("path", ["secret", "open/../secret", "open/link/x", "openly"])
def test_data_outside_the_roots_is_refused_wherever_a_path_is_named(rooted: Backend, tmp_path: Path, path: str) -> None:
    (tmp_path / "open" / "link").symlink_to(tmp_path / "secret")
    folder = {"kind": "folder", "path": f"{tmp_path}/{path}"}
    features = {"kind": "precomputed", "features_root": f"{tmp_path}/{path}"}
    refused = [
        rooted.http.post("/datasets", json=folder),
        rooted.http.post("/runs", json={"dataset": folder}),
        rooted.http.post("/runs", json={"dataset": {"kind": "av-digits"}, "encoder": features}),
    ]
    for response in refused:
        rooted.problem(response, 422, "outside-data-roots")
    assert list(rooted.home.datasets.iterdir()) == []


def test_data_under_a_root_is_taken(rooted: Backend, tmp_path: Path) -> None:
    (tmp_path / "open" / "clips").mkdir()
    folder = {"kind": "folder", "path": f"{tmp_path}/open/clips"}
    assert rooted.http.post("/datasets", json=folder).status_code == 202


def test_where_keys_are_asked_for_no_folder_is_open_by_itself(closed: Backend, tmp_path: Path) -> None:
    headers = bearer(closed, "admin")
    folder = {"kind": "folder", "path": str(tmp_path)}
    closed.problem(closed.http.post("/datasets", json=folder, headers=headers), 422, "no-data-roots")
    assert closed.http.post("/datasets", json={"kind": "av-digits"}, headers=headers).status_code == 202


def test_lists_in_the_environment_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPSCOPE_DATA_ROOTS", "/data/a:/data/b")
    monkeypatch.setenv("GAPSCOPE_DEVICES", "0,1")
    settings = load_settings()
    assert (settings.data_roots, settings.devices) == ((Path("/data/a"), Path("/data/b")), (0, 1))


def test_a_clip_that_was_swapped_for_a_link_out_of_the_roots_is_not_served(tmp_path: Path) -> None:
    roots = (tmp_path / "open",)
    settings = Settings(home=tmp_path / "home", redis_url="redis://127.0.0.1:1/0", data_roots=roots)
    made = Home(settings.home).dataset("mine").clips
    for folder in (tmp_path / "open", tmp_path / "secret", made):
        folder.mkdir(parents=True)
        (folder / "clip.mp4").write_bytes(b"clip")
    (settings.home / "local.key").write_text("gsk_secret")
    (tmp_path / "open" / "link.mp4").symlink_to(tmp_path / "secret" / "clip.mp4")
    (tmp_path / "open" / "key.mp4").symlink_to(settings.home / "local.key")
    require_still_open(settings, tmp_path / "open" / "clip.mp4", made)
    require_still_open(settings, made / "clip.mp4", made)
    for name in ("link.mp4", "../secret/clip.mp4", "key.mp4", "../home/local.key"):
        with pytest.raises(NotFoundError) as refused:
            require_still_open(settings, tmp_path / "open" / name, made)
        assert refused.value.code == "media-outside-roots"
    require_still_open(settings.model_copy(update={"data_roots": ()}), tmp_path / "secret" / "clip.mp4", made)


@pytest.mark.parametrize(
    ("addresses", "status"),
    [
        ({"public_url": "https://gapscope.example.org/api"}, 401),
        ({"ui_origin": "https://gapscope.example.org"}, 401),
        ({"public_url": "http://127.0.0.1:8000", "ui_origin": "http://localhost:8501"}, 200),
        ({"public_url": "https://gapscope.example.org", "auth": "off"}, 200),
    ],
)
def test_behind_a_proxy_every_caller_needs_a_key_though_it_comes_from_loopback(
    valkey_server: Any, tmp_path: Path, addresses: dict[str, Any], status: int
) -> None:
    with serving(Settings(home=tmp_path / "home", redis_url=valkey_server.url, **addresses)) as backend:
        assert backend.http.get("/runs").status_code == status


def test_a_flood_of_strangers_does_not_push_out_what_others_did(closed: Backend) -> None:
    closed.http.post("/runs", json=DEMO, headers=bearer(closed, "runner", "Grace"))
    for number in range(60):
        assert closed.http.get(f"/{'ä' * 400}{number}").status_code == 401
    lines = audit(closed)
    assert lines[0]["caller"].startswith("Grace (")
    assert 1 < len(lines) < 20
    assert max(len(json.dumps(line)) for line in lines) < 600


RELATIVE = {"kind": "manifest", "path": "pyproject.toml"}
"""Of the folder in which the backend happens to run."""


def test_a_relative_path_is_no_way_around_the_roots(rooted: Backend) -> None:
    rooted.problem(rooted.http.post("/datasets/check", json=RELATIVE), 422, "outside-data-roots")


def test_a_relative_path_is_not_open_by_itself(closed: Backend) -> None:
    answer = closed.http.post("/datasets/check", json=RELATIVE, headers=bearer(closed, "admin"))
    closed.problem(answer, 422, "no-data-roots")
