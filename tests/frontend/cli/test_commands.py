"""The commands: what they send, print and return."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from frontend.cli.demo import _follow
from frontend.client import GapscopeClient
from tests.frontend.cli.conftest import Run
from tests.frontend.client.fake_api import Answer, FakeApi, Request
from tests.frontend.client.values import event_value, run_value
from worker.contract import resources
from worker.contract.spec import PRESETS, RunSpec

CATALOG = {"presets": [preset.model_dump(mode="json") for preset in PRESETS]}
ROW: dict[str, Any] = {
    "sample_id": "clip-7",
    "split": "train",
    "label": "dog",
    "epoch": 3,
    "gap": 0.75,
    "posterior_imbalanced": 0.9,
    "loss_weight": 1.0,
    "p_true": {"fused": 0.9, "audio": 0.85, "visual": 0.1},
    "predicted": {"fused": "dog", "audio": "dog", "visual": "cat"},
    "quality": {},
    "notes": {},
}


def finished_run(request: Request) -> Answer:
    """Answers as an API whose one run has finished with two events."""
    events = [event_value("epoch_finished", 1), event_value("run_finished", 2)]
    if request.path.endswith("/stream"):
        text = "".join(f"id: {event['seq']}\ndata: {json.dumps(event)}\n\n" for event in events)
        return Answer(pieces=[text.encode()], content_type="text/event-stream")
    if request.path.endswith("/events"):
        return Answer({"events": events[int(request.query["after"]) :], "cursor": "2"})
    return Answer(run_value("finished"), 202 if request.method == "POST" else 200)


def test_launch_sends_the_preset_and_only_what_differs(api: FakeApi, gapscope: Run) -> None:
    api.answer = lambda request: Answer(CATALOG) if request.path == "/catalog" else Answer(run_value("queued"), 202)
    result = gapscope("launch", "--preset", "demo", "-o", "objective.warm_up_epochs=3", "-o", "epochs=5", "--tag", "a")
    assert result.exit_code == 0, result.output
    assert result.stdout == "run-1\n"
    body = json.loads(api.requests[-1].body)
    assert set(body) == {"preset", "objective", "epochs", "tags"}
    assert body["objective"]["kind"] == "gmm-adaptive"
    assert body["objective"]["warm_up_epochs"] == 3


def test_launch_takes_a_file_and_overrides_it(api: FakeApi, gapscope: Run, tmp_path: Path) -> None:
    api.answer = lambda _: Answer(run_value("queued"), 202)
    spec = tmp_path / "spec.json"
    spec.write_text('{"dataset": {"kind": "folder", "path": "/a"}, "epochs": 3}')
    assert gapscope("launch", "--spec", str(spec), "-o", "dataset.path=/b").exit_code == 0
    assert json.loads(api.requests[-1].body) == {"dataset": {"kind": "folder", "path": "/b"}, "epochs": 3}


def test_launch_names_a_corpus_by_kind_and_path(api: FakeApi, gapscope: Run) -> None:
    api.answer = lambda _: Answer(run_value("queued"), 202)
    chosen = {"kind": "crema-d", "path": "/data/CREMA-D", "protocol": "paper", "layout": "frames"}
    options = [part for name, value in chosen.items() for part in ("-o", f"dataset.{name}={value}")]
    assert gapscope("launch", *options).exit_code == 0
    body = json.loads(api.requests[-1].body)
    assert body == {"dataset": chosen}
    assert RunSpec.model_validate(body).dataset.protocol == "paper"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Nothing to launch"),
        (("-o", "epochs"), "key=value"),
        (("--preset", "nope", "-o", "objective.alpha=1"), "one of demo, demo-joint"),
        (("--spec", "LIST"), "a JSON object, got a list"),
        (("--spec", "BROKEN"), "cannot be read"),
    ],
)
def test_launch_refuses_a_wrong_use_with_status_2(
    arguments: tuple[str, ...], words: str, api: FakeApi, gapscope: Run, tmp_path: Path
) -> None:
    api.answer = lambda _: Answer(CATALOG)
    (tmp_path / "LIST").write_text("[]")
    (tmp_path / "BROKEN").write_text("{")
    result = gapscope("launch", *(str(tmp_path / word) if word.isupper() else word for word in arguments))
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())


def test_launch_waits_until_the_run_has_ended(api: FakeApi, gapscope: Run) -> None:
    api.answer = finished_run
    result = gapscope("launch", "--preset", "demo", "--wait")
    assert result.exit_code == 0, result.output
    assert "epoch" in result.stdout
    assert result.stdout.rstrip().splitlines()[-1].startswith("finished")


def test_watch_prints_an_event_a_line_for_scripts(api: FakeApi, gapscope: Run) -> None:
    api.answer = finished_run
    result = gapscope("watch", "run-1", "--json")
    assert [json.loads(line)["type"] for line in result.stdout.splitlines()] == ["epoch_finished", "run_finished"]


def test_watch_ends_with_status_1_when_the_run_failed(api: FakeApi, gapscope: Run) -> None:
    def answer(request: Request) -> Answer:
        failed = event_value("run_failed", 1)
        if request.path.endswith("/stream"):
            return Answer(pieces=[f"id: 1\ndata: {json.dumps(failed)}\n\n".encode()], content_type="text/event-stream")
        if request.path.endswith("/events"):
            return Answer({"events": [failed][int(request.query["after"]) :], "cursor": "1"})
        return Answer(run_value("failed"))

    api.answer = answer
    result = gapscope("watch", "run-1")
    assert result.exit_code == 1
    assert "failed:" in result.stdout


@pytest.mark.parametrize(("state", "lines"), [("finished", 1), ("running", 2)])
def test_demo_tells_only_the_end_of_a_run_that_an_earlier_start_finished(api: FakeApi, state: str, lines: int) -> None:
    api.answer = finished_run
    said: list[str] = []
    with GapscopeClient(api.url) as client:
        _follow(client, resources.Run.model_validate(run_value(state)), said.append)
    assert len(said) == lines
    assert "finished; test at" in said[-1]


def test_runs_are_listed_filtered_and_paged(api: FakeApi, gapscope: Run) -> None:
    def answer(request: Request) -> Answer:
        second = "cursor" in request.query
        return Answer({"items": [run_value(id="run-2" if second else "run-1")], "next": None if second else "c"})

    api.answer = answer
    result = gapscope("runs", "--state", "running", "--tag", "demo", "--json")
    assert [run["id"] for run in json.loads(result.stdout)] == ["run-1", "run-2"]
    assert {request.query["state"] for request in api.requests} == {"running"}
    table = gapscope("runs", "--limit", "1").stdout
    assert "run-1" in table
    assert "av-digits" in table
    assert "1/2" in table


def test_samples_are_a_table_or_json(api: FakeApi, gapscope: Run) -> None:
    api.answer = lambda _: Answer({"items": [ROW], "next": None})
    result = gapscope("samples", "run-1", "--min-gap", "0.5", "--audio-correct", "--visual-wrong")
    assert "clip-7" in result.stdout
    assert "+0.750" in result.stdout
    query = api.requests[-1].query
    assert (query["min_gap"], query["audio_correct"], query["visual_correct"]) == ("0.5", "true", "false")
    assert "fused_correct" not in query
    assert json.loads(gapscope("samples", "run-1", "--json").stdout)[0]["gap"] == 0.75


def test_score_prints_each_modality(api: FakeApi, gapscope: Run, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"film")
    probabilities = {"fused": {"dog": 0.8, "cat": 0.2}, "audio": {"dog": 0.9, "cat": 0.1}, "visual": None}
    result = {
        "probabilities": probabilities,
        "predicted": {"fused": "dog", "audio": "dog", "visual": None},
        "gap": None,
        "gap_of": None,
        "posterior_imbalanced": None,
        "posterior_reason": "the clip has no picture",
        "modalities_present": ["audio"],
        "padded": True,
        "timing_s": {},
    }
    score = {"id": "score-1", "state": "finished", "run_id": "run-1", "epoch": 4, "filename": "clip.mp4"}
    api.answer = lambda _: Answer({**score, "created_at": "2026-11-24T10:00:00Z", "result": result})
    shown = gapscope("score", str(clip), "--run", "run-1")
    assert shown.exit_code == 0, shown.output
    for words in ("dog", "90.0%", "The clip has only: audio", "the clip has no picture", "at epoch 4"):
        assert words in shown.stdout
    assert json.loads(gapscope("score", str(clip), "--run", "run-1", "--json").stdout)["epoch"] == 4


def batch_value(state: str, **changes: Any) -> dict[str, Any]:
    progress = {"done": 3, "total": 3, "failed": 1, "fraction": 1.0}
    batch = {"id": "batch-1", "state": state, "run_id": "run-1", "path": "/clips", "epoch": 4, "format": "csv"}
    return {**batch, "created_at": "2026-11-24T10:00:00Z", "progress": progress, "table": None, **changes}


def batch_api(request: Request) -> Answer:
    """Answers as an API whose one batch is finished when it is looked at."""
    if request.path.endswith("/table"):
        return Answer(pieces=[b"sample_id\r\n", b"a\r\n"], content_type="text/csv")
    if request.method == "POST":
        return Answer(batch_value("queued"), 202)
    return Answer(batch_value("finished", table="/api/v1/scores/batch/batch-1/table"))


def test_score_batch_waits_and_writes_the_table(api: FakeApi, gapscope: Run, tmp_path: Path) -> None:
    api.answer = batch_api
    target = tmp_path / "out.csv"
    shown = gapscope("score-batch", "/clips", "--run", "run-1", "-o", str(target))
    assert shown.exit_code == 0, shown.output
    assert target.read_bytes() == b"sample_id\r\na\r\n"
    assert "3 of 3 clips by run-1 at epoch 4, 1 could not be scored" in shown.stdout
    body = json.loads(api.requests[0].body)
    assert body == {"run_id": "run-1", "path": "/clips", "epoch": None, "format": "csv"}
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_score_batch_prints_json_and_takes_the_format_from_the_name(
    api: FakeApi, gapscope: Run, tmp_path: Path
) -> None:
    api.answer = batch_api
    shown = gapscope("score-batch", "/clips", "--run", "run-1", "-o", str(tmp_path / "out.parquet"), "--json")
    assert json.loads(shown.stdout)["progress"]["failed"] == 1
    assert json.loads(api.requests[0].body)["format"] == "parquet"
    assert api.requests[-1].query == {"format": "parquet"}


def test_score_batch_that_failed_says_why(api: FakeApi, gapscope: Run, tmp_path: Path) -> None:
    problem = {"title": "No", "status": 422, "detail": "There is no folder /clips.", "code": "dataset-not-found"}
    api.answer = lambda _: Answer(batch_value("failed", error=problem), 202)
    shown = gapscope("score-batch", "/clips", "--run", "run-1", "-o", str(tmp_path / "out.csv"))
    assert shown.exit_code == 1
    assert "There is no folder /clips." in shown.stderr
    assert list(tmp_path.iterdir()) == []


def test_export_writes_a_file(api: FakeApi, gapscope: Run, tmp_path: Path) -> None:
    api.answer = lambda _: Answer(pieces=[b"a\n1\n"], content_type="text/csv")
    target = tmp_path / "table.csv"
    assert gapscope("export", "run-1", "--table", "epochs", "--output", str(target)).exit_code == 0
    assert target.read_text() == "a\n1\n"
    assert api.requests[-1].query == {"table": "epochs", "format": "csv"}


def test_runs_are_cancelled_resumed_and_deleted(api: FakeApi, gapscope: Run) -> None:
    sizes = {"reclaimable_bytes": 2048, "freed_bytes": 0}
    api.answer = lambda request: Answer(sizes) if request.method == "DELETE" else Answer(run_value("cancelling"), 202)
    assert gapscope("cancel", "run-1", "run-2").stdout == "run-1 cancelling\nrun-2 cancelling\n"
    assert gapscope("resume", "run-1").exit_code == 0
    assert "2,048 bytes" in gapscope("delete", "run-1").stdout
    assert [request.path for request in api.requests] == [
        "/runs/run-1/cancel",
        "/runs/run-2/cancel",
        "/runs/run-1/resume",
        "/runs/run-1",
    ]


def test_error_of_the_api_is_one_clear_message_with_status_1(api: FakeApi, gapscope: Run) -> None:
    problem = {"field": "epochs", "expected": "at least 1", "got": "0", "remedy": "Raise it."}
    api.answer = lambda _: api.problem(422, "invalid-request", "One field is wrong.", errors=[problem])
    result = gapscope("launch", "--preset", "demo", "-o", "epochs=0")
    assert result.exit_code == 1
    assert result.stderr == "Error: One field is wrong.\n  epochs: expected at least 1; got 0. Raise it.\n"


def test_what_the_sentence_has_said_of_a_field_is_not_said_again(api: FakeApi, gapscope: Run) -> None:
    problems = [
        {"field": "epochs", "expected": "at least 1", "got": "0", "remedy": "Raise it."},
        {"field": "epoch", "expected": "no such field", "got": "3", "remedy": "Leave it out."},
    ]
    detail = "epochs: expected at least 1; got 0."
    api.answer = lambda _: api.problem(422, "invalid-request", detail, errors=problems)
    said = (
        "Error: epochs: expected at least 1; got 0. Raise it.\n  epoch: expected no such field; got 3. Leave it out.\n"
    )
    assert gapscope("launch", "--preset", "demo").stderr == said


def test_settings_that_do_not_go_together_are_told_without_the_document(api: FakeApi, gapscope: Run) -> None:
    whole = {
        "field": "(the whole)",
        "expected": "mla takes no accumulate",
        "got": "{'epochs': 3}",
        "remedy": "Change it.",
    }
    api.answer = lambda _: api.problem(422, "invalid-request", "Mla takes no accumulate.", errors=[whole])
    assert gapscope("launch", "--preset", "demo").stderr == "Error: Mla takes no accumulate. Change it.\n"


def test_api_that_is_not_there_is_one_line_with_a_remedy(gapscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPSCOPE_API_URL", "http://127.0.0.1:1")
    begin = time.monotonic()
    result = gapscope("runs")
    assert time.monotonic() - begin < 3
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "gapscope up" in result.stderr
