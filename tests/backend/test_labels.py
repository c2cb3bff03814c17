"""Names, tags and notes of runs: changed, found, brought back when Redis or the backend was lost."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.backend.conftest import Backend, Filled, serving, settings_for, wait_for
from tests.backend.folders import write_run


def launch(backend: Backend, **changes: Any) -> str:
    response = backend.http.post("/runs", json={"preset": "demo", **changes})
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def test_labels_are_on_the_disk_and_the_spec_stays(backend: Backend) -> None:
    run = launch(backend, name="first", tags=["a"])
    asked = {"name": "renamed *b*", "add_tags": ["b", "b"], "remove_tags": ["a"], "notes": " seen \n"}
    shown = backend.http.patch(f"/runs/{run}", json=asked).json()
    assert (shown["name"], shown["tags"], shown["notes"]) == ("renamed *b*", ["b"], "seen")
    assert shown["spec"]["name"] == "first"
    assert json.loads(backend.home.run(run).labels.read_text())["tags"] == ["b"]
    again = backend.http.patch(f"/runs/{run}", json={"tags": ["c"]}).json()
    assert (again["name"], again["tags"], again["notes"]) == ("renamed *b*", ["c"], "seen")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"tags": [""]}, "tags.0"),
        ({"notes": "x" * 4_001}, "notes"),
        ({"title": "x"}, "title"),
        ({"add_tags": [str(number) for number in range(20)]}, "add_tags"),
    ],
)
def test_bad_label_is_refused_by_field(backend: Backend, body: dict[str, Any], field: str) -> None:
    run = launch(backend, tags=["a"])
    response = backend.http.patch(f"/runs/{run}", json=body)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert not backend.home.run(run).labels.exists()


def test_unknown_run_and_foreign_page_change_nothing(backend: Backend) -> None:
    backend.problem(backend.http.patch("/runs/run-none", json={"name": "x"}), 404, "run-not-found")
    run = launch(backend)
    refused = backend.http.patch(f"/runs/{run}", json={"name": "x"}, headers={"origin": "https://evil.example"})
    backend.problem(refused, 403, "forbidden-origin")


def test_tags_of_people_who_tag_at_the_same_time_are_all_kept(backend: Backend) -> None:
    run = launch(backend)
    with ThreadPoolExecutor(8) as pool:
        bodies = [{"add_tags": [f"tag-{number}"]} for number in range(16)]
        assert all(
            answer.is_success for answer in pool.map(lambda b: backend.http.patch(f"/runs/{run}", json=b), bodies)
        )
    assert sorted(backend.get(f"/runs/{run}")["tags"]) == sorted(f"tag-{number}" for number in range(16))


def test_labels_come_back_when_redis_was_emptied_or_the_backend_ended_between_two_steps(
    tmp_path: Path, valkey_url: str
) -> None:
    settings = settings_for(tmp_path / "home", valkey_url)
    with serving(settings) as backend:
        run = launch(backend)
        backend.http.patch(f"/runs/{run}", json={"name": "kept", "notes": "why"})
        backend.services.redis.flushall()
        back = wait_for(lambda: backend.ledger.get("run", run), "the ledger is rebuilt")
        assert (back.facts.name, back.facts.notes) == ("kept", "why")
        labels = backend.home.run(run).labels
        labels.write_text(labels.read_text().replace("kept", "newer"))  # the ledger was not told
    with serving(settings) as backend:
        wait_for(lambda: backend.get(f"/runs/{run}")["name"] == "newer", "the ledger learns it")


def test_damaged_labels_do_not_hide_the_run(backend: Backend) -> None:
    run = launch(backend, name="first")
    backend.home.run(run).labels.write_text("{")
    backend.services.rebuilder.restore_run(run)
    assert backend.get(f"/runs/{run}")["name"] == "first"


def test_runs_are_found_by_words_and_counted_by_what_they_have(filled: Filled) -> None:
    backend, runs = filled.backend, filled.runs

    def ids(text: str) -> list[str]:
        return [run["id"] for run in backend.get("/runs", text=text)["items"]]

    backend.http.patch(f"/runs/{runs[0]}", json={"notes": "Loss spikes at 3"})
    assert ids("SPIKES loss") == [runs[0]]
    assert ids("spikes odd") == []
    assert ids("ODD another") == [runs[2]]
    assert set(ids("gmm-adaptive clips")) >= set(runs)
    facets = backend.get("/runs/facets")
    assert facets["tags"] == [{"value": "odd", "num_runs": 1}]
    assert {"value": "finished", "num_runs": 3} in facets["states"]
    assert facets["datasets"] == [{"value": filled.dataset_id, "num_runs": 3}]


def test_curves_are_those_of_the_events_and_only_given_when_asked_for(filled: Filled) -> None:
    backend = filled.backend
    assert all(run["series"] is None for run in backend.get("/runs")["items"])
    for run in backend.get("/runs", series="true")["items"]:
        epochs = [e for e in backend.get(f"/runs/{run['id']}/events")["events"] if e["type"] == "epoch_finished"]
        assert run["series"] == {
            "epochs": [event["epoch"] for event in epochs],
            "accuracy_fused": [event["validation"]["accuracy"]["fused"] for event in epochs],
            "mean_abs_gap": [event["validation"]["mean_abs_gap"] for event in epochs],
        }


def test_curves_go_on_from_what_is_kept_and_stay_short(backend: Backend) -> None:
    run = write_run(backend.home)
    backend.services.rebuilder.restore_run(run)
    path = backend.home.run(run).events
    lines = path.read_text().splitlines()
    epoch = next(json.loads(line) for line in lines if '"type":"epoch_finished"' in line)
    many = [json.dumps({**epoch, "seq": seq, "epoch": seq}, separators=(",", ":")) for seq in range(1, 201)]
    path.write_text("\n".join(many[:150]) + "\n")
    backend.services.redis.hset(f"gapscope:run:{run}", "epoch", "150")
    backend.services.redis.delete(f"gapscope:run:{run}:events")

    def epochs() -> list[int]:
        (item,) = backend.get("/runs", series="true")["items"]
        found: list[int] = item["series"]["epochs"]
        return found

    first = epochs()
    assert (first[0], first[-1]) == (1, 150)
    assert len(first) <= 49
    with path.open("a") as file:
        file.write("\n".join(many[150:]) + "\n")
    assert epochs() == first  # the ledger says that there is nothing new
    backend.services.redis.hset(f"gapscope:run:{run}", "epoch", "200")
    then = epochs()
    assert (then[0], then[-1]) == (1, 200)
    assert len(then) <= 49
