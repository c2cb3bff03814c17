"""Plug-ins of other packages: installed with pip, found, shown, trained with; broken ones named and harmless."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from frontend.ui.schema import read
from tests.backend.stack.running import RunningStack, start_stack, stop_stack, wait_for_stack
from tests.plugins.packages import install, python_path
from tests.stack.driving import Api, wait_for

pytestmark = pytest.mark.stack

SPEC: dict[str, Any] = {
    "dataset": {"kind": "two-tones"},
    "encoder": {"kind": "mean-pair", "num_features": 8},
    "fusion": {"kind": "product"},
    "objective": {"kind": "weighted-heads", "weight": 2.0},
    "optimizer": {"kind": "adamw", "learning_rate": 0.05},
    "epochs": 5,
    "batch_size": 8,
    "augment": False,
    "precision": "fp32",
    "device": "cpu",
    "threads": 1,
}
BROKEN = {
    "not-there": "ModuleNotFoundError: No module named 'gapscope_broken.nowhere'",
    "raises": "RuntimeError: this module never works",
    "leaves": "SystemExit: good-bye",
    "wrong-base": "TypeError: <class 'gapscope_broken.spec.WrongBase'> is no dataset, encoder, fusion, objective",
    "no-class": "TypeError: 3 is no dataset",
    "taken-kind": "ValueError: kind 'joint' is taken by worker.contract.spec.objectives",
    "no-schema": "PydanticInvalidForJsonSchema: ",
    "never-defined": "PydanticUserError: `NeverDefined` is not fully defined; you should define `Missing`",
}


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack in an environment that has both packages, with two train workers."""
    folder = tmp_path_factory.mktemp("plugins")
    site = install(folder)
    home = folder / "home"
    process = start_stack(home, "--train-workers", "2", PYTHONPATH=python_path(site))
    try:
        yield wait_for_stack(home, process)
    finally:
        if process.poll() is None:
            stop_stack(process)


@pytest.fixture(scope="module")
def plugged_api(plugged: RunningStack) -> Iterator[Api]:
    with closing(Api(plugged.api_url)) as client:
        yield client


def test_sample_package_is_in_the_catalog(plugged_api: Api) -> None:
    catalog = plugged_api.get("/catalog")
    for category, kind in (
        ("objectives", "weighted-heads"),
        ("encoders", "mean-pair"),
        ("fusions", "product"),
        ("datasets", "two-tones"),
    ):
        assert catalog[category][kind]["title"]
    weight = catalog["objectives"]["weighted-heads"]["schema"]["properties"]["weight"]
    assert (weight["default"], weight["minimum"], weight["maximum"]) == (0.5, 0.0, 10.0)


def test_launch_form_has_its_fields(plugged_api: Api) -> None:
    fields = {field.name: field for field in read(plugged_api.get("/catalog")["run_schema"])}
    method = fields["objective"].variants["weighted-heads"]
    assert [(field.path, field.default) for field in method.fields if field.name == "weight"] == [
        ("objective.weight", 0.5)
    ]
    assert "mean-pair" in fields["encoder"].variants
    assert "product" in fields["fusion"].variants
    assert "two-tones" in fields["dataset"].variants


def test_broken_plugins_are_named_with_their_reason_and_harm_nothing_else(plugged_api: Api) -> None:
    catalog = plugged_api.get("/catalog")
    named = {name.partition(" (")[0]: reason for name, reason in catalog["broken_plugins"].items()}
    assert set(named) == set(BROKEN)
    for name, reason in BROKEN.items():
        assert named[name].startswith(reason), named[name]
    assert all(name.endswith("(gapscope-broken 0.1)") for name in catalog["broken_plugins"])
    assert plugged_api.get("/system")["broken_plugins"] == catalog["broken_plugins"]
    assert catalog["objectives"]["joint"]["title"] == "Joint training"
    assert not {"no-schema", "never-defined"} & {*catalog["encoders"], *catalog["objectives"]}
    assert plugged_api.get("/openapi.json")["paths"]


def test_run_with_its_method_encoder_fusion_and_dataset_trains(plugged_api: Api) -> None:
    run = plugged_api.wait_for_state(plugged_api.launch(SPEC), {"finished"})
    assert run["spec"]["objective"] == {"kind": "weighted-heads", "gaps": "online", "weight": 2.0}
    epochs = [event for event in plugged_api.events(run["id"]) if event["type"] == "epoch_finished"]
    assert len(epochs) == 5
    losses = [epoch["loss_terms"]["fused"] for epoch in epochs]
    assert losses[-1] < losses[0]
    assert run["result"]["last"]["test"]["num_samples"] == 10
    assert run["result"]["last"]["test"]["unimodal_source"] == "head"


def test_batch_that_does_not_fit_fails_the_first_attempt_with_the_one_that_would(plugged_api: Api) -> None:
    run = plugged_api.launch(SPEC | {"encoder": {"kind": "mean-pair", "max_clips": 9}, "batch_size": 32})
    failed = plugged_api.wait_for_state(run, {"failed"})
    assert failed["attempt"] == 1
    assert failed["error"]["code"] == "out-of-memory"
    assert "9 would: set batch_size to 9 (and accumulate to 4 to keep at least 32 clips" in failed["error"]["detail"]


def test_wrong_field_of_a_plugin_is_refused_as_any_other(plugged_api: Api) -> None:
    answer = plugged_api.http.post("/runs", json=SPEC | {"objective": {"kind": "weighted-heads", "weight": -1.0}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "objective.weight"


def test_run_whose_implementation_is_missing_fails_and_says_so(plugged_api: Api) -> None:
    run = plugged_api.launch(SPEC | {"objective": {"kind": "ghost"}})
    failed = plugged_api.wait_for_state(run, {"failed"})
    assert failed["error"]["code"] == "implementation-missing"
    assert "gapscope_broken.nowhere:Thing" in failed["error"]["detail"]


def test_two_train_workers_train_two_runs_at_once(plugged_api: Api, plugged: RunningStack) -> None:
    runs = [plugged_api.launch(SPEC | {"epochs": 2_000, "seed": seed}) for seed in (1, 2)]
    wait_for(lambda: {plugged_api.get(f"/runs/{run}")["state"] for run in runs} == {"running"}, "both runs train", 60)

    def busy() -> set[str]:
        workers = plugged_api.get("/system")["workers"]
        return {worker["busy_with"] for worker in workers if worker["queue"] == "train"}

    wait_for(lambda: busy() == set(runs), "each worker says which run it trains", 10)
    processes = json.loads((plugged.home / "stack.json").read_text())["processes"]
    assert {"worker-train", "worker-train-2"} <= set(processes)
    for run in runs:
        plugged_api.http.post(f"/runs/{run}/cancel")
    for run in runs:
        plugged_api.wait_for_state(run, {"cancelled"}, timeout_s=20)
