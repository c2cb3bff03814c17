"""Runs: accepted, listed, cancelled, resumed, cloned, deleted."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.retention import Freed, Retention
from tests.backend.conftest import Backend, Filled, serving, settings_for, wait_for
from tests.backend.folders import write_run
from worker.contract import keys
from worker.contract.record import Claim, Outcome, read_outcome

DEMO = {"preset": "demo", "epochs": 3}


def launch(backend: Backend, **changes: Any) -> dict[str, Any]:
    response = backend.http.post("/runs", json={**DEMO, **changes})
    assert response.status_code == 202, response.text
    run: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/api/v1/runs/{run['id']}"
    return run


def make_ready(backend: Backend, dataset_id: str) -> None:
    """Ends a preparation as its worker would."""
    claim = backend.ledger.claim("dataset", dataset_id, "test-holder")
    assert isinstance(claim, Claim)
    Outcome.now("finished").write(backend.home.dataset(dataset_id).outcome)
    backend.ledger.transition("dataset", dataset_id, claim.token, {"running"}, "finished")


def claimed(backend: Backend, run_id: str) -> Claim:
    claim = backend.ledger.claim("run", run_id, f"holder of {run_id}")
    assert isinstance(claim, Claim)
    return claim


def test_accepted_run_is_on_the_disk_in_the_ledger_and_waits_for_its_dataset(backend: Backend) -> None:
    run = launch(backend, tags=["a", "b"], name="first")
    assert (run["state"], run["name"], run["tags"], run["attempt"]) == ("queued", "first", ["a", "b"], 1)
    assert run["progress"]["epoch"] == 0
    assert run["progress"]["epochs"] == 3
    dataset_id = run["waiting_for"].removeprefix("dataset ")
    assert json.loads(backend.home.run(run["id"]).spec.read_text())["spec"] == run["spec"]
    assert backend.get(f"/datasets/{dataset_id}")["state"] == "queued"
    assert backend.get("/system")["queues"] == {"train": 0, "prepare": 1, "score": 0}
    assert launch(backend)["waiting_for"] == run["waiting_for"]
    assert len(backend.get("/datasets")["items"]) == 1


def test_run_is_sent_to_the_queue_once_its_dataset_is_ready(backend: Backend) -> None:
    run = launch(backend)
    make_ready(backend, run["waiting_for"].removeprefix("dataset "))
    wait_for(lambda: backend.get("/system")["queues"]["train"] >= 1, "a message")
    shown = backend.get(f"/runs/{run['id']}")
    assert (shown["waiting_for"], shown["queue_position"]) == (None, 1)
    (message,) = backend.services.live.messages("run")
    assert json.loads(message)["headers"]["task"] == keys.TASKS["run"]
    assert run["id"] in message


def test_queues_count_waiting_jobs_not_messages_of_which_one_too_many_harms_nobody(backend: Backend) -> None:
    run = launch(backend)
    make_ready(backend, run["waiting_for"].removeprefix("dataset "))
    wait_for(lambda: backend.services.live.messages("run"), "a message")
    for _ in range(3):
        backend.services.tools.dispatcher.send("run", run["id"])
    assert backend.get("/system")["queues"]["train"] == 1


def test_lost_message_is_sent_again(backend: Backend) -> None:
    run = launch(backend)
    make_ready(backend, run["waiting_for"].removeprefix("dataset "))
    wait_for(lambda: backend.services.redis.delete(keys.QUEUES["run"]), "the first message")
    wait_for(lambda: backend.services.live.messages("run"), "another message")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"preset": "demo", "epochs": 0}, "epochs: expected at least 1; got 0."),
        ({}, "dataset: expected a value; got nothing."),
        ({"dataset": {"kind": "folder"}}, "dataset.path: expected a value; got nothing."),
        (
            {"dataset": {"kind": "folder", "path": ""}},
            "dataset.path: expected at least 1 character(s); got ''.",
        ),
        ({"dataset": "mine"}, "dataset: expected an object; got 'mine'."),
        (
            {"dataset": {"kind": "zip", "path": "/x"}},
            "dataset.kind: expected one of 'av-digits', 'folder', 'manifest', 'crema-d', 'ave', 'kinetics-sounds', "
            "'vggsound'; got 'zip'.",
        ),
        ({"preset": "demo", "objective": {"alpha": 1}}, "objective.kind: expected a value; got nothing."),
        (
            {"preset": "demo", "objective": {"kind": "ogm"}, "fusion": {"kind": "gated"}},
            "The method 'ogm' needs fused logits that split exactly into an audio and a visual part, those of the "
            "fusion 'gated' do not: choose the fusion concat or sum.",
        ),
    ],
)
def test_refusal_of_a_spec_is_a_sentence(backend: Backend, body: Any, said: str) -> None:
    assert backend.http.post("/runs", json=body).json()["detail"] == said


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"preset": "demo", "epochs": 0}, "epochs"),
        ({"preset": "demo", "epoch": 3}, "epoch"),
        ({"preset": "none"}, "preset"),
        ({"preset": "demo", "objective": {"kind": "gmm-adaptive", "alpha": -1}}, "objective.alpha"),
        ({}, "dataset"),
        ({"dataset": {"id": "unknown"}}, "dataset.id"),
    ],
)
def test_invalid_spec_is_refused_by_field_and_leaves_nothing(backend: Backend, body: Any, field: str) -> None:
    response = backend.http.post("/runs", json=body)
    assert response.status_code == 422
    assert field in [error["field"] for error in response.json()["errors"]]
    assert set(response.json()["errors"][0]) == {"field", "expected", "got", "remedy"}
    assert list(backend.home.runs.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"objective": {"kind": "gmm-adaptive", "warm_up_epochs": 9}}, "objective.warm_up_epochs"),
        ({"objective": {"kind": "gmm-adaptive", "warm_up_epochs": 2, "purification": True}},
         "objective.purification_epochs"),
        ({"objective": {"kind": "opm"}}, "objective.first_epoch"),
        ({"objective": {"kind": "opm", "first_epoch": 3, "last_epoch": 2}}, "objective.last_epoch"),
        ({"objective": {"kind": "g-blending", "fused_weight": 1.0, "audio_weight": 1.0}}, "objective.visual_weight"),
        ({"objective": {"kind": "ogm"}, "fusion": {"kind": "gated"}}, "fusion"),
        ({"objective": {"kind": "ogm"}, "encoder": {"kind": "precomputed", "features_root": "/f", "num_hidden": 0}},
         "encoder"),
        ({"objective": {"kind": "mla"}, "accumulate": 2}, "accumulate"),
        ({"num_processes": 64}, "batch_size"),
        ({"start_weights": "chosen"}, "start_weights"),
        ({"dataset": {"kind": "av-digits", "num_train": 1_200, "num_test": 600}}, "dataset.num_train"),
        ({"dataset": {"kind": "av-digits", "preprocess": {"frame_size": 32, "crop_size": 64}}},
         "dataset.preprocess.crop_size"),
        ({"schedule": {"kind": "cosine", "warm_up_epochs": 3.0}}, "schedule.warm_up_epochs"),
        ({"subset": "subset-none-0"}, "subset"),
        ({"start_from": "run-none-0"}, "start_from"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_name_the_field_to_change(backend: Backend, changes: Any, field: str) -> None:
    body = {**DEMO, "objective": {"kind": "joint"}, **changes}
    for route in ("/runs/estimate", "/runs"):
        answer = backend.http.post(route, json=body)
        assert answer.status_code == 422
        [fault] = answer.json()["errors"]
        assert fault["field"] == field
        assert fault["remedy"]
    assert list(backend.home.runs.iterdir()) == []


def test_override_replaces_the_whole_top_level_key(backend: Backend) -> None:
    run = launch(backend, objective={"kind": "gmm-adaptive", "alpha": 3.0})
    assert run["spec"]["objective"]["alpha"] == 3.0
    assert run["spec"]["optimizer"]["learning_rate"] == 2e-3


def test_queued_run_is_cancelled_at_once_and_its_record_is_closed(backend: Backend) -> None:
    run = launch(backend)
    cancelled = backend.http.post(f"/runs/{run['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    outcome = read_outcome(backend.home.run(run["id"]).outcome)
    assert outcome is not None
    assert outcome.state == "cancelled"
    assert [event["type"] for event in backend.get(f"/runs/{run['id']}/events")["events"]] == ["run_cancelled"]
    backend.problem(backend.http.post(f"/runs/{run['id']}/cancel"), 409, "already-ended")


def test_running_run_is_asked_to_end(backend: Backend) -> None:
    run = launch(backend)
    make_ready(backend, run["waiting_for"].removeprefix("dataset "))
    claimed(backend, run["id"])
    assert backend.http.post(f"/runs/{run['id']}/cancel").json()["state"] == "cancelling"
    assert backend.home.run(run["id"]).cancel.exists()
    backend.problem(backend.http.delete(f"/runs/{run['id']}"), 409, "run-active")
    backend.problem(backend.http.post(f"/runs/{run['id']}/resume"), 409, "not-resumable")


def test_cancelled_run_is_resumed_as_its_next_attempt(backend: Backend) -> None:
    run = launch(backend)
    backend.http.post(f"/runs/{run['id']}/cancel")
    resumed = backend.http.post(f"/runs/{run['id']}/resume")
    assert (resumed.status_code, resumed.json()["state"], resumed.json()["attempt"]) == (202, "queued", 2)
    folder = backend.home.run(run["id"])
    assert not folder.cancel.exists()
    assert not folder.outcome.exists()


def test_clone_has_the_same_spec_and_resolved_spec(filled: Filled) -> None:
    backend, run = filled.backend, filled.run
    resolved = {
        "dataset_id": "clips", "store_digest": "0", "device": "cpu", "precision": "fp32", "threads": 1,
        "memory_format": "contiguous", "deterministic": True, "versions": {}, "processor": "x",
    }  # fmt: skip
    backend.home.run(run).resolved_spec.write_text(json.dumps(resolved))
    clone = backend.http.post(f"/runs/{run}/clone").json()
    assert clone["id"] != run
    assert clone["spec"] == backend.get(f"/runs/{run}")["spec"]
    assert clone["resolved_spec"]["processor"] == "x"
    backend.http.post(f"/runs/{clone['id']}/cancel")
    freed = backend.http.delete(f"/runs/{clone['id']}", params={"purge": True}).json()
    assert freed["freed_bytes"] > 0


def test_deleted_run_lies_in_the_trash_until_its_time(tmp_path: Path, valkey_url: str) -> None:
    with serving(settings_for(tmp_path / "home", valkey_url, trash_hours=0.0)) as backend:
        run = write_run(backend.home)
        backend.services.redis.flushall()
        wait_for(lambda: backend.ledger.get("run", run), "the ledger is rebuilt")
        deleted = backend.http.delete(f"/runs/{run}").json()
        assert deleted["reclaimable_bytes"] > 1_000
        assert deleted["freed_bytes"] == 0
        backend.problem(backend.http.get(f"/runs/{run}"), 404, "run-not-found")
        assert [path.name.split(".")[0] for path in backend.home.trash.iterdir()] == [run]
        assert backend.services.archive.empty_trash(Retention(3_600)) == Freed()
        assert backend.services.archive.empty_trash(Retention(0)).number == 1
        assert list(backend.home.trash.iterdir()) == []


def test_full_queue_and_full_disk_are_refused(tmp_path: Path, valkey_url: str) -> None:
    with serving(settings_for(tmp_path / "home", valkey_url, max_queued_runs=1)) as backend:
        launch(backend)
        backend.problem(backend.http.post("/runs", json=DEMO), 429, "queue-full")
    settings = settings_for(tmp_path / "home", valkey_url).model_copy(update={"min_free_bytes": 2**60})
    with serving(settings) as backend:
        backend.problem(backend.http.post("/runs", json=DEMO), 507, "disk-full")
        assert not backend.get("/system")["disk"]["accepts_new_work"]


def test_runs_are_filtered_sorted_and_paged(filled: Filled) -> None:
    backend, runs = filled.backend, filled.runs

    def ids(**params: Any) -> list[str]:
        return [run["id"] for run in backend.get("/runs", **params)["items"]]

    assert ids() == runs[::-1]
    assert ids(sort="created_at") == runs
    assert ids(tag="odd") == [runs[2]]
    assert ids(dataset=filled.dataset_id, objective="gmm-adaptive", state="finished", sort="name")[0] == runs[2]
    assert ids(state="running") == ids(objective="joint") == []
    best = [run["summary"]["accuracy"]["fused"] for run in backend.get("/runs", sort="-accuracy_fused")["items"]]
    assert best == sorted(best, reverse=True)
    first = backend.get("/runs", limit=2)
    second = backend.get("/runs", limit=2, cursor=first["next"])
    assert [run["id"] for run in first["items"] + second["items"]] == runs[::-1]
    assert second["next"] is None
    backend.problem(backend.http.get("/runs", params={"cursor": first["next"], "tag": "odd"}), 422, "invalid-cursor")


def test_folder_that_is_gone_or_damaged_hides_no_other(backend: Backend) -> None:
    gone, damaged, good = (launch(backend)["id"] for _ in range(3))
    shutil.rmtree(backend.home.run(gone).path)
    backend.home.run(damaged).spec.write_text("{")
    assert [run["id"] for run in backend.get("/runs")["items"]] == [good]
    backend.problem(backend.http.get(f"/runs/{gone}"), 500, "record-corrupt")


def test_finished_run_shows_summary_and_result(filled: Filled) -> None:
    run = filled.backend.get(f"/runs/{filled.run}")
    assert run["state"] == "finished"
    assert run["progress"] == {
        "epoch": 3, "epochs": 3, "stage": "single", "phase": "waiting", "fraction": 1.0, "eta_s": None,
        "samples_per_s": None,
    }  # fmt: skip
    assert run["summary"]["num_samples"] == 50
    assert run["result"]["chosen"]["by"] == "validation"
    assert run["started_at"] < run["finished_at"]


def test_log_gives_its_last_lines(filled: Filled) -> None:
    response = filled.backend.http.get(f"/runs/{filled.run}/log", params={"tail": 3})
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text == "line 998\nline 999\nline 1000\n"


@pytest.fixture
def quick(tmp_path: Path, valkey_url: str) -> Iterator[Backend]:
    with serving(settings_for(tmp_path / "home", valkey_url, stale_beat_s=2.0)) as backend:
        yield backend


def test_run_whose_beat_stands_still_is_shown_lost_and_queued_again(quick: Backend) -> None:
    run = launch(quick)
    make_ready(quick, run["waiting_for"].removeprefix("dataset "))
    wait_for(lambda: quick.services.live.messages("run"), "the first message")
    quick.services.redis.delete(keys.QUEUES["run"])
    claim = claimed(quick, run["id"])
    wait_for(lambda: quick.get(f"/runs/{run['id']}")["state"] == "lost", "the run is lost")
    assert quick.get("/runs", state="lost")["items"]
    again = wait_for(lambda: _in_state(quick, run["id"], "queued"), "the run is queued again")
    assert again["attempt"] == 2
    wait_for(lambda: quick.services.live.messages("run"), "a message")
    assert quick.ledger.renew(claim).value == "ok"  # nobody took it: it is the holder's again
    assert quick.get(f"/runs/{run['id']}")["state"] == "running"


def test_run_with_a_beat_is_left_alone(quick: Backend) -> None:
    run = launch(quick)
    make_ready(quick, run["waiting_for"].removeprefix("dataset "))
    claim = claimed(quick, run["id"])
    for _ in range(35):
        quick.ledger.renew(claim)
        assert quick.get(f"/runs/{run['id']}")["state"] == "running"
        time.sleep(0.1)
    record = quick.ledger.get("run", run["id"])
    assert record is not None
    assert record.attempt == 1


def _in_state(backend: Backend, run_id: str, state: str) -> Any:
    run = backend.get(f"/runs/{run_id}")
    return run if run["state"] == state else None


def test_dataset_that_failed_is_prepared_again_for_a_new_run(backend: Backend) -> None:
    dataset_id = launch(backend)["waiting_for"].removeprefix("dataset ")
    assert backend.http.post(f"/datasets/{dataset_id}/cancel").json()["state"] == "cancelled"
    assert launch(backend)["waiting_for"] == f"dataset {dataset_id}"
    assert backend.get(f"/datasets/{dataset_id}")["state"] == "queued"


def test_a_page_of_the_newest_and_one_run_read_no_other_jobs(filled: Filled) -> None:
    backend = filled.backend

    def reads() -> tuple[int, int]:
        stats = backend.services.redis.info("commandstats")
        return tuple(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("hgetall", "hmget"))

    backend.get(f"/runs/{filled.run}")  # what never changes is read once
    before = reads()
    assert [run["id"] for run in backend.get("/runs", limit=1)["items"]] == filled.runs[-1:]
    backend.get(f"/runs/{filled.run}")
    hashes, parts = (after - first for after, first in zip(reads(), before, strict=True))
    assert parts == 0
    assert hashes <= 2
