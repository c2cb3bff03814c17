"""`gapscope bench methods` against an API that keeps runs."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from frontend.cli.bench import compose
from frontend.leaderboard import running
from tests.frontend.cli.conftest import Run
from tests.frontend.client.fake_api import Answer, FakeApi, Request
from tests.frontend.client.values import event_value, run_value
from tests.frontend.leaderboard.values import RESULT
from worker.contract.spec.registry import DATASETS, OBJECTIVES

METHODS = ("joint", "multi-head", "gmm-adaptive")


class RunKeeper:
    """Answers as an API whose runs finish at the second look; `fails` names (method, seed) that fail."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.looks: dict[str, int] = {}
        self.fails: set[tuple[str, int]] = set()
        self.refuses: str | None = None
        self.most_active = 0
        self.full = 0

    def answer(self, request: Request) -> Answer:
        if request.path == "/catalog":
            return Answer(self._catalog())
        if request.path == "/runs":
            return self._launch(json.loads(request.body)) if request.method == "POST" else self._list()
        run = self.runs[request.path.split("/")[2]]
        if request.path.endswith("/events"):
            events = [event_value("epoch_finished", 1), event_value("run_finished", 2)]
            return Answer({"events": events[int(request.query["after"]) :], "cursor": "2"})
        if request.path.endswith("/samples"):
            return Answer({"items": [], "next": None})
        return Answer(self._look(run))

    def _catalog(self) -> dict[str, Any]:
        spec = {"dataset": {"kind": "av-digits"}, "epochs": 2, "seed": 9, "objective": {"kind": "joint"}}
        return {
            "objectives": {kind: {"schema": OBJECTIVES[kind].model_json_schema()} for kind in METHODS},
            "datasets": {kind: {} for kind in DATASETS},
            "presets": [{"id": "small", "spec": spec}],
        }

    def _list(self) -> Answer:
        return Answer({"items": list(self.runs.values()), "next": None})

    def _launch(self, body: dict[str, Any]) -> Answer:
        if self.full:
            self.full -= 1
            return FakeApi().problem(429, "too-many", "The queue is full.")
        if body["objective"]["kind"] == self.refuses:
            return FakeApi().problem(422, "invalid-request", "Not with this data.")
        run_id = f"run-{len(self.runs) + 1}"
        spec = {name: value for name, value in body.items() if name != "tags"}
        self.runs[run_id] = run_value("queued", id=run_id, spec=spec, tags=body["tags"])
        active = sum(run["state"] == "queued" for run in self.runs.values())
        self.most_active = max(self.most_active, active)
        return Answer(self.runs[run_id], 202)

    def _look(self, run: dict[str, Any]) -> dict[str, Any]:
        self.looks[run["id"]] = self.looks.get(run["id"], 0) + 1
        if self.looks[run["id"]] > 1:
            if (run["spec"]["objective"]["kind"], run["spec"]["seed"]) in self.fails:
                problem = {"title": "No", "status": 422, "detail": "The loss is not finite.", "code": "non-finite-loss"}
                run.update(state="failed", error=problem)
            else:
                run.update(state="finished", result=RESULT)
        return run


@pytest.fixture
def keeper(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> RunKeeper:
    monkeypatch.setattr(running, "POLL_S", 0.01)
    found = RunKeeper()
    api.answer = found.answer
    return found


def kinds(keeper: RunKeeper) -> list[tuple[str, int]]:
    return [(run["spec"]["objective"]["kind"], run["spec"]["seed"]) for run in keeper.runs.values()]


def test_every_method_runs_on_every_seed_and_a_second_call_reuses_all(
    keeper: RunKeeper, gapscope: Run, tmp_path: Path
) -> None:
    arguments = ["bench", "methods", "--preset", "small", "--seeds", "2", "--output", str(tmp_path / "board.md")]
    arguments += ["--json", str(tmp_path / "board.json"), "--csv", str(tmp_path / "board.csv"), "--name", "mine"]
    first = gapscope(*arguments, "--in-flight", "2")
    assert first.exit_code == 0, first.output
    assert sorted(kinds(keeper)) == sorted((kind, seed) for kind in METHODS for seed in (0, 1))
    assert keeper.most_active == 2
    assert {tuple(run["tags"]) for run in keeper.runs.values()} == {("leaderboard", "mine")}
    text = (tmp_path / "board.md").read_text()
    assert re.search(r"\| `multi-head` \| 2 \| 90\.5 ± 0\.0 \|", text)
    document = json.loads((tmp_path / "board.json").read_text())
    assert [len(document["entries"]), document["family"], document["exploratory"]] == [6, 2, True]
    lines = list(csv.DictReader((tmp_path / "board.csv").read_text().splitlines()))
    assert {(line["fused"], line["audio"], line["mean_abs_gap"]) for line in lines} == {("0.905", "0.275", "0.6")}
    chosen = RESULT["chosen"]["test"]
    assert {float(line["chosen_macro_f1"]) for line in lines} == {chosen["macro_f1"]["fused"]}

    second = gapscope(*arguments)
    assert second.exit_code == 0
    assert len(keeper.runs) == 6
    assert second.stderr.count("reused") == 6
    assert json.loads((tmp_path / "board.json").read_text())["entries"][0]["reused"] is True


def test_interrupted_call_takes_up_the_runs_that_are_under_way(
    keeper: RunKeeper, gapscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["bench", "methods", "--preset", "small", "--seeds", "1", "--output", str(tmp_path / "board.md")]

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("frontend.leaderboard.running.time.sleep", interrupt)
        stopped = gapscope(*arguments)
    assert stopped.exit_code == 130
    assert "the same command takes them up again" in stopped.stderr
    assert not (tmp_path / "board.md").exists()
    assert len(keeper.runs) == 3
    assert gapscope(*arguments).exit_code == 0
    assert len(keeper.runs) == 3


def test_failed_and_refused_runs_stand_in_the_table_and_end_with_status_1(
    keeper: RunKeeper, gapscope: Run, tmp_path: Path
) -> None:
    keeper.fails, keeper.refuses = {("multi-head", 1)}, "gmm-adaptive"
    board = tmp_path / "board.md"
    result = gapscope("bench", "methods", "--preset", "small", "--seeds", "2", "--output", str(board))
    assert result.exit_code == 1
    text = board.read_text()
    assert "The loss is not finite. [non-finite-loss]" in text
    assert text.count("Not with this data. [invalid-request]") == 2
    keeper.fails, keeper.refuses = set(), None
    assert gapscope("bench", "methods", "--preset", "small", "--seeds", "2", "--output", str(board)).exit_code == 0
    assert "Failed" not in board.read_text()


def test_full_queue_is_waited_for(keeper: RunKeeper, gapscope: Run, tmp_path: Path) -> None:
    keeper.full = 3
    arguments = ("--preset", "small", "--seeds", "1", "--methods", "joint", "--output", str(tmp_path / "board.md"))
    assert gapscope("bench", "methods", *arguments).exit_code == 0
    assert kinds(keeper) == [("joint", 0)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "No dataset"),
        (("--preset", "nope"), "one of small"),
        (("--dataset", "av-digits", "-o", "seed=3"), "the benchmark sets it"),
        (("--dataset", "av-digits", "-o", "objective.kind=joint"), "the benchmark sets it"),
    ],
)
def test_wrong_use_is_refused_before_anything_runs(
    arguments: tuple[str, ...], words: str, keeper: RunKeeper, gapscope: Run
) -> None:
    result = gapscope("bench", "methods", *arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert keeper.runs == {}


def test_spec_that_no_run_could_have_is_one_line_and_launches_nothing(keeper: RunKeeper, gapscope: Run) -> None:
    result = gapscope("bench", "methods", "--preset", "small", "-o", "batch_size=1", "-o", "epochs=0")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The spec of the runs is not valid: epochs: Input should be greater")
    assert "batch_size: " in result.stderr
    assert keeper.runs == {}


def test_dataset_is_a_kind_with_overrides_or_a_registered_id(keeper: RunKeeper) -> None:
    catalog = keeper._catalog()
    folder = compose(catalog, "folder", "small", ["dataset.path=/clips", "epochs=3"])
    assert folder == {"dataset": {"kind": "folder", "path": "/clips"}, "epochs": 3}
    assert compose(catalog, "my-clips", None, []) == {"dataset": {"id": "my-clips"}}
    smaller = compose(catalog, "av-digits", "small", ["dataset.num_test=50"])["dataset"]
    assert smaller == {"kind": "av-digits", "num_test": 50}
