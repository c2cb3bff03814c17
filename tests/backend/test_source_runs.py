"""Earlier runs that a launch names: refused by field where they cannot be built on."""

from __future__ import annotations

import shutil
from typing import Any

from tests.backend.conftest import Backend, Filled


def post(filled: Filled, audio: str, visual: str, **changes: Any) -> Any:
    objective = {"kind": "umt", "audio_teacher": audio, "visual_teacher": visual}
    spec = {"dataset": {"id": filled.dataset_id}, "epochs": 2, "objective": objective, **changes}
    return filled.backend.http.post("/runs", json=spec)


def fields_of(document: dict[str, Any]) -> list[str]:
    return [error["field"] for error in document["errors"]]


def num_runs(backend: Backend) -> int:
    return len(backend.get("/runs", limit=500)["items"])


def test_finished_runs_on_the_same_dataset_are_accepted_and_cloned(filled: Filled) -> None:
    backend = filled.backend
    launched = post(filled, *filled.runs[:2])
    assert launched.status_code == 202, launched.text
    clone = backend.http.post(f"/runs/{launched.json()['id']}/clone")
    assert clone.status_code == 202, clone.text
    assert clone.json()["spec"]["objective"]["audio_teacher"] == filled.runs[0]


def test_an_unknown_run_is_refused_by_field_and_nothing_is_queued(filled: Filled) -> None:
    before = num_runs(filled.backend)
    document = filled.backend.problem(post(filled, filled.run, "run-none-0001"), 422, "source-run-unknown")
    assert fields_of(document) == ["objective.visual_teacher"]
    assert "run-none-0001" in document["detail"]
    document = filled.backend.problem(post(filled, "run-none-0001", "run-none-0002"), 422, "source-run-unknown")
    assert fields_of(document) == ["objective.audio_teacher", "objective.visual_teacher"]
    assert num_runs(filled.backend) == before


def test_something_that_is_no_run_id_is_refused_by_the_schema(filled: Filled) -> None:
    document = filled.backend.problem(post(filled, "../../etc", filled.run), 422, "invalid-request")
    assert fields_of(document) == ["objective.audio_teacher"]


def test_a_run_that_has_not_finished_is_refused(filled: Filled) -> None:
    queued = filled.backend.http.post("/runs", json={"dataset": {"id": filled.dataset_id}}).json()["id"]
    document = filled.backend.problem(post(filled, queued, filled.run), 422, "source-run-unfinished")
    assert fields_of(document) == ["objective.audio_teacher"]
    assert "queued" in document["detail"]


def test_a_finished_run_without_its_checkpoints_is_refused(filled: Filled) -> None:
    checkpoints = filled.backend.home.run(filled.runs[2]).checkpoints
    shutil.move(checkpoints, checkpoints.with_name("moved"))
    try:
        document = filled.backend.problem(post(filled, filled.runs[2], filled.run), 422, "source-run-unfinished")
    finally:
        shutil.move(checkpoints.with_name("moved"), checkpoints)
    assert "without a checkpoint" in document["detail"]


def test_a_run_on_another_dataset_is_refused(filled: Filled) -> None:
    data = {"kind": "av-digits", "num_train": 60, "num_validation": 20, "num_test": 20}
    document = filled.backend.problem(
        post(filled, filled.run, filled.run, dataset=data), 422, "source-run-other-dataset"
    )
    assert filled.dataset_id in document["detail"]
    # The dataset of a refused run is not registered.
    assert [item["id"] for item in filled.backend.get("/datasets")["items"]] == [filled.dataset_id]


def test_a_run_that_others_name_can_be_deleted_and_then_they_cannot_be_cloned(filled: Filled) -> None:
    backend = filled.backend
    launched = post(filled, filled.run, filled.runs[2]).json()["id"]
    assert backend.http.delete(f"/runs/{filled.runs[2]}").status_code == 200
    assert backend.get(f"/runs/{launched}")["spec"]["objective"]["visual_teacher"] == filled.runs[2]
    document = backend.problem(backend.http.post(f"/runs/{launched}/clone"), 422, "source-run-unknown")
    assert fields_of(document) == ["objective.visual_teacher"]
