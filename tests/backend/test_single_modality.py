"""A run on one modality has no gaps: every route answers, with nulls where there is nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq
import pytest
import redis

from tests.backend.conftest import Backend, serving, settings_for
from tests.backend.folders import write_dataset, write_run
from tests.conftest import ValkeyServer
from worker.contract.layout import Home

NUM_VALIDATION = 50


@dataclass
class Solo:
    """A server with a run on each modality alone, and one on both."""

    backend: Backend
    runs: dict[str, str]


@pytest.fixture(scope="module")
def solo(tmp_path_factory: pytest.TempPathFactory, valkey_server: ValkeyServer) -> Iterator[Solo]:
    url = valkey_server.url.replace("/0", "/3")
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    home = Home(tmp_path_factory.mktemp("solo") / "home")
    home.create()
    dataset = {"dataset": {"id": write_dataset(home, count=200)}}
    runs = {"both": write_run(home, **dataset)}
    for name in ("audio", "visual"):
        runs[name] = write_run(home, only=name, objective={"kind": f"{name}-only"}, **dataset)
    with serving(settings_for(home.path, url)) as running:
        yield Solo(running, runs)


@pytest.fixture(params=["audio", "visual"])
def only(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def other(name: str) -> str:
    return {"audio": "visual", "visual": "audio"}[name]


def test_its_tables_have_nulls_for_the_other_modality_and_for_gaps(solo: Solo, only: str) -> None:
    path = f"/runs/{solo.runs[only]}"
    for row in solo.backend.get(f"{path}/classes")["items"]:
        assert row["accuracy"][only] == row["accuracy"]["fused"] is not None
        assert (row["accuracy"][other(only)], row["mean_gap"], row["mean_abs_gap"], row["num_dominant"]) == (None,) * 4
    cells = solo.backend.get(f"{path}/cube")["cells"]
    assert {cell[f"{other(only)}_correct"] for cell in cells} == {None}
    assert sum(cell["num_samples"] for cell in cells) == NUM_VALIDATION
    assert solo.backend.get(f"{path}/confusion", modality=only)["num_samples"] == NUM_VALIDATION
    nothing = solo.backend.get(f"{path}/confusion", modality=other(only))
    assert (nothing["num_samples"], nothing["classes"], nothing["counts"]) == (0, [], [])
    assert solo.backend.get(f"{path}/flow")["groups"] == ["unknown"]
    assert solo.backend.get(f"{path}/heatmap")["epochs"] == []


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_its_diagnosis_speaks_of_its_modality_alone(solo: Solo, only: str, split: str) -> None:
    findings = solo.backend.get(f"/runs/{solo.runs[only]}/diagnosis", split=split)["findings"]
    codes = {finding["code"] for finding in findings}
    assert f"accuracy-{only}" in codes
    assert not codes & {"accuracy-fused", f"accuracy-{other(only)}", "fused-below-best", "mixture", "widest-class"}
    assert not any("both together" in finding["text"].lower() for finding in findings)


@pytest.mark.parametrize("sort", ["gap", "-gap", "-abs_gap", "posterior_imbalanced", "p_true_audio", "-p_true_visual"])
def test_its_samples_come_page_by_page_whatever_they_are_sorted_by(solo: Solo, only: str, sort: str) -> None:
    seen, cursor = [], None
    while True:
        page = solo.backend.get(
            f"/runs/{solo.runs[only]}/samples",
            split="validation",
            sort=sort,
            limit=20,
            **({"cursor": cursor} if cursor else {}),
        )
        seen += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert len({row["sample_id"] for row in seen}) == len(seen) == page["total"] == NUM_VALIDATION
    for row in seen:
        assert (row["gap"], row["posterior_imbalanced"], row["p_true"][other(only)]) == (None, None, None)
        assert row["predicted"][other(only)] is None
        assert row["predicted"][only] == row["predicted"]["fused"]


def test_conditions_on_what_it_does_not_have_find_nothing(solo: Solo, only: str) -> None:
    path = f"/runs/{solo.runs[only]}/samples"
    for condition in ({"min_gap": -1}, {"max_posterior": 1}, {f"{other(only)}_correct": True}):
        assert solo.backend.get(path, **condition)["total"] == 0


def test_one_of_its_samples_has_a_trajectory_of_nulls(solo: Solo, only: str) -> None:
    sample = solo.backend.get(f"/runs/{solo.runs[only]}/samples/clip-000002")
    assert sample["trajectory"] == {"epochs": [1, 2, 3], "gap": [None] * 3, "posterior_imbalanced": [None] * 3}
    assert [row["gap"] for row in sample["rows"]] == [None] * 3


@pytest.mark.parametrize("first", ["both", "audio", "visual"])
def test_it_is_compared_with_runs_on_both(solo: Solo, first: str) -> None:
    ids = [solo.runs[first], *(run for name, run in solo.runs.items() if name != first)]
    found = solo.backend.get("/compare", runs=",".join(ids))
    pairs = solo.backend.get("/compare/pairs", runs=",".join(ids))["items"]
    assert [pair["num_samples"] for pair in pairs] == [NUM_VALIDATION] * 2
    for pair in pairs:
        assert pair["tests"][0]["modality"] == "fused"
        page = solo.backend.get("/compare/changes", first=ids[0], second=pair["second"], change="group")
        assert (page["total"], page["items"]) == (0, [])
    for compared in found["runs"]:
        kind = compared["run"]["spec"]["objective"]["kind"]
        assert (compared["curve"][-1]["mean_gap"] is None) == kind.endswith("-only")


@pytest.mark.parametrize("table", ["samples", "epochs"])
@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_its_tables_are_exported_with_empty_cells(solo: Solo, only: str, table: str, format: str) -> None:
    answer = solo.backend.http.get(f"/runs/{solo.runs[only]}/export", params={"table": table, "format": format})
    assert answer.status_code == 200
    if format == "csv":
        rows = list(csv.DictReader(io.StringIO(answer.text)))
    else:
        rows = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    empty = "gap" if table == "samples" else "validation.mean_gap"
    assert len(rows) == (200 if table == "samples" else 3)
    assert {row[empty] for row in rows} <= {None, ""}


def test_its_document_events_and_subsets(solo: Solo, only: str) -> None:
    run = solo.runs[only]
    shown = solo.backend.get(f"/runs/{run}")
    assert shown["state"] == "finished"
    assert shown["result"]["probes"][other(only)] is None
    last = solo.backend.get(f"/runs/{run}/events")["events"][-1]
    assert last["result"]["last"]["test"]["mixture"] is None
    request = {"name": "right ones", "run_id": run, "filter": {"split": "train", "fused_correct": True}}
    answer = solo.backend.http.post("/subsets", json=request)
    assert answer.status_code == 201, answer.text
    assert answer.json()["num_samples"] > 0


def test_a_run_on_the_other_modality_is_no_teacher_and_measures_nothing_for_this_one(solo: Solo) -> None:
    runs, shown = solo.runs, solo.backend.get(f"/runs/{solo.runs['both']}")
    base = {"dataset": shown["spec"]["dataset"], "epochs": 2}

    def launch(kind: str, **named: str) -> list[str]:
        objective = {"kind": kind, **{name: runs[run] for name, run in named.items()}}
        answer = solo.backend.http.post("/runs", json={**base, "objective": objective})
        if answer.status_code == 202:
            return []
        document = solo.backend.problem(answer, 422, "source-run-unfit")
        return [error["field"] for error in document["errors"]]

    assert launch("umt", audio_teacher="audio", visual_teacher="both") == []
    swapped = ["objective.audio_teacher", "objective.visual_teacher"]
    assert launch("g2d", audio_teacher="visual", visual_teacher="audio") == swapped
    assert launch("g-blending", fused_run="both", audio_run="audio", visual_run="visual") == []
    wrong = launch("g-blending", fused_run="audio", audio_run="both", visual_run="visual")
    assert wrong == ["objective.fused_run", "objective.audio_run"]
