"""The client: addresses, typed answers, errors, retries, data frames, uploads."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from frontend.client import ForbiddenError, GapscopeClient, ServerError, UnreachableError, discover
from tests.frontend.client.fake_api import HANG_UP, Answer, FakeApi, Request
from tests.frontend.client.values import run_value
from worker.contract.errors import (
    ConflictError,
    GapscopeError,
    InsufficientStorageError,
    InvalidRequestError,
    NotFoundError,
    TooLargeError,
    TooManyError,
    UnavailableError,
)
from worker.contract.spec import AvDigits, RunSpec

SCORE: dict[str, Any] = {
    "id": "score-1",
    "state": "queued",
    "run_id": "run-1",
    "filename": "clip.mp4",
    "created_at": "2026-11-24T10:00:00Z",
}


def in_turn(*answers: Answer) -> Any:
    remaining = list(answers)
    return lambda _: remaining.pop(0)


class TestAddress:
    @pytest.fixture(autouse=True)
    def _nowhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("GAPSCOPE_API_URL", "GAPSCOPE_HOME"):
            monkeypatch.delenv(name, raising=False)

    def test_environment_comes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GAPSCOPE_API_URL", "http://elsewhere:9/")
        assert discover() == "http://elsewhere:9"

    @pytest.mark.parametrize("named", [True, False])
    def test_then_the_stack_that_serves_the_home(
        self, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = tmp_path / ("other" if named else "home")
        home.mkdir()
        if named:
            monkeypatch.setenv("GAPSCOPE_HOME", str(home))
        record = {"pid": os.getpid(), "api_url": "http://127.0.0.1:1234"}
        (home / "stack.json").write_text(json.dumps(record))
        assert discover() == "http://127.0.0.1:1234"

    def test_record_of_a_dead_stack_does_not_count(self, tmp_path: Path) -> None:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "stack.json").write_text('{"pid": 999999999, "api_url": "http://127.0.0.1:1234"}')
        assert discover() == "http://127.0.0.1:8000"


def test_run_is_typed_as_the_contract_is(api: FakeApi, client: GapscopeClient) -> None:
    api.answer = lambda _: Answer(run_value())
    run = client.run("run-1")
    assert run.progress.epochs == 2
    assert isinstance(run.spec.dataset, AvDigits)


def test_run_is_created_from_a_spec_or_from_fields(api: FakeApi, client: GapscopeClient) -> None:
    api.answer = lambda _: Answer(run_value("queued"), 202)
    client.create_run(RunSpec(dataset=AvDigits(), epochs=3))
    client.create_run({"preset": "demo", "epochs": 3})
    bodies = [json.loads(request.body) for request in api.requests]
    assert bodies[0]["epochs"] == 3
    assert bodies[0]["dataset"]["kind"] == "av-digits"
    assert bodies[1] == {"preset": "demo", "epochs": 3}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, TooLargeError),
        (422, InvalidRequestError),
        (429, TooManyError),
        (500, ServerError),
        (503, UnavailableError),
        (507, InsufficientStorageError),
    ],
)
def test_problem_becomes_the_error_of_its_status_with_its_code(
    status: int, kind: type[GapscopeError], api: FakeApi, client: GapscopeClient
) -> None:
    problem = {"field": "epochs", "expected": "at least 1", "got": "0", "remedy": "Raise it."}
    api.answer = lambda _: api.problem(status, "its-own-code", "What is wrong.", errors=[problem])
    with pytest.raises(kind) as raised:
        client.delete("run-1")
    assert (raised.value.code, raised.value.detail) == ("its-own-code", "What is wrong.")
    assert raised.value.errors is not None
    assert raised.value.errors[0].field == "epochs"


def test_answer_of_something_else_is_told_apart(api: FakeApi, client: GapscopeClient) -> None:
    api.answer = lambda _: Answer(status=404, pieces=[b"<h1>nginx</h1>"], content_type="text/html")
    with pytest.raises(NotFoundError, match="is this the address of a Gapscope API"):
        client.run("run-1")
    api.answer = lambda _: Answer(pieces=[b"<h1>hello</h1>"], content_type="text/html")
    with pytest.raises(ServerError, match="Expected JSON"):
        client.run("run-1")
    api.answer = lambda _: Answer(run_value(new_field=1))
    with pytest.raises(ServerError, match="new_field") as raised:
        client.run("run-1")
    assert raised.value.code == "version-mismatch"


def test_api_that_is_not_there_is_named_with_a_remedy() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with GapscopeClient(url) as client, pytest.raises(UnreachableError, match="gapscope up") as raised:
            client.run("run-1")
    assert url in raised.value.detail


def test_get_is_tried_again_after_a_broken_line_and_a_503(api: FakeApi, client: GapscopeClient) -> None:
    api.answer = in_turn(HANG_UP, api.problem(503, "unavailable", "Redis is down."), Answer(run_value()))
    assert client.run("run-1").id == "run-1"
    assert len(api.requests) == 3


def test_post_is_tried_again_only_with_the_same_idempotency_key(api: FakeApi, client: GapscopeClient) -> None:
    api.answer = in_turn(HANG_UP, Answer(run_value("queued"), 202))
    client.create_run({"preset": "demo"})
    keys = [request.headers["idempotency-key"] for request in api.requests]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_calls_that_are_not_idempotent_are_sent_once(api: FakeApi, client: GapscopeClient, tmp_path: Path) -> None:
    api.answer = lambda _: HANG_UP
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x")
    for call in (lambda: client.delete("run-1"), lambda: client.score(clip, "run-1")):
        api.requests.clear()
        with pytest.raises(UnreachableError):
            call()
        assert len(api.requests) == 1


def test_error_of_the_caller_is_not_tried_again(api: FakeApi, client: GapscopeClient) -> None:
    api.answer = lambda _: api.problem(404, "run-not-found", "There is no such run.")
    with pytest.raises(NotFoundError):
        client.run("run-9")
    assert len(api.requests) == 1


def test_samples_are_a_data_frame_over_all_pages(api: FakeApi, client: GapscopeClient) -> None:
    def answer(request: Request) -> Answer:
        page = int(request.query.get("cursor", "0"))
        items = [
            {"sample_id": f"s{page}-{i}", "gap": 0.1 * i, "p_true": {"audio": 0.5, "visual": None}} for i in (0, 1)
        ]
        return Answer({"items": items, "next": str(page + 1) if page < 2 else None})

    api.answer = answer
    frame = client.samples("run-1", sort="gap", min_gap=0.0)
    assert list(frame["sample_id"]) == ["s0-0", "s0-1", "s1-0", "s1-1", "s2-0", "s2-1"]
    assert frame["p_true.audio"].mean() == 0.5
    assert {request.query["min_gap"] for request in api.requests} == {"0.0"}
    api.requests.clear()
    assert len(client.samples("run-1", limit=3)) in (3, 4)
    assert [request.query["limit"] for request in api.requests] == ["3", "1"]


def test_upload_tells_its_progress_and_waits_for_the_scores(
    api: FakeApi, client: GapscopeClient, tmp_path: Path
) -> None:
    clip, sound = tmp_path / "clip.mp4", tmp_path / "sound.wav"
    clip.write_bytes(os.urandom(300_000))
    sound.write_bytes(b"s" * 1_000)
    api.answer = in_turn(Answer(SCORE, 202), Answer(SCORE), Answer({**SCORE, "state": "finished"}))
    steps: list[tuple[int, int]] = []
    score = client.score(
        clip, "run-1", label="dog", audio_path=sound, on_upload=lambda sent, total: steps.append((sent, total))
    )
    assert score.state == "finished"
    upload = api.requests[0]
    assert upload.query == {"wait": "10"}
    assert clip.read_bytes() in upload.body
    for part in (b'name="run_id"', b'name="label"', b'name="audio_file"; filename="sound.wav"'):
        assert part in upload.body
    assert len(steps) > 3
    assert steps == sorted(steps)
    assert steps[-1] == (301_000, 301_000)


def test_clip_that_cannot_be_read_is_refused_before_anything_is_sent(
    api: FakeApi, client: GapscopeClient, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be opened"):
        client.score(tmp_path / "none.mp4", "run-1")
    assert api.requests == []


def test_export_appears_only_when_it_is_complete(api: FakeApi, client: GapscopeClient, tmp_path: Path) -> None:
    api.answer = lambda _: Answer(pieces=[b"a,b\n", b"1,2\n"], content_type="text/csv")
    assert client.export("run-1", tmp_path / "out.csv") == 8
    assert (tmp_path / "out.csv").read_bytes() == b"a,b\n1,2\n"
    api.answer = lambda _: api.problem(404, "run-not-found", "There is no such run.")
    with pytest.raises(NotFoundError):
        client.export("run-9", tmp_path / "other.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_readiness_is_a_plain_answer(api: FakeApi, client: GapscopeClient) -> None:
    api.answer = lambda _: Answer({"status": "ready"})
    assert client.ready()
    api.answer = lambda _: api.problem(503, "unavailable", "Missing: train.")
    assert not client.ready()
    assert len(api.requests) == 2
