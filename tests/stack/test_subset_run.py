"""A fine-tuning run of its own: a subset of another run's samples, that run's weights, lineage on both sides."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.stack.driving import Api, tiny_spec

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def tuned(api: Api) -> dict[str, Any]:
    """A finished run on some samples of another run, with that other run."""
    source = api.wait_for_state(api.launch(tiny_spec(epochs=3)), {"finished"})
    rows = api.get(f"/runs/{source['id']}/samples", split="train", sort="label", limit=500, epoch=2)["items"]
    ids = [row["sample_id"] for index, row in enumerate(rows) if index % 4]  # of every class
    body = {"name": "three of four", "run_id": source["id"], "sample_ids": ids, "epoch": 2}
    subset = api.http.post("/subsets", json=body)
    assert subset.status_code == 201, subset.text
    spec = tiny_spec(
        epochs=2,
        objective={"kind": "joint"},
        subset=subset.json()["id"],
        start_from=source["id"],
        optimizer={"kind": "adamw", "learning_rate": 5e-4},
    )
    run = api.wait_for_state(api.launch(spec), {"finished"})
    return {"source": api.get(f"/runs/{source['id']}"), "subset": subset.json(), "run": run}


def test_it_trains_on_the_subset_and_is_validated_and_tested_on_all(
    tuned: dict[str, Any], api: Api, stack: Any
) -> None:
    run, subset = tuned["run"], tuned["subset"]
    events = api.events(run["id"])
    started, epochs = events[0], [event for event in events if event["type"] == "epoch_finished"]
    counts = [started[f"num_{name}"] for name in ("train", "validation", "test")]
    assert counts == [subset["num_samples"], 30, 40]
    assert 0 < subset["num_samples"] < 120
    for event in epochs:
        assert event["train"]["num_samples"] == event["cost"]["samples"] == subset["num_samples"]
        assert event["validation"]["num_samples"] == 30
    table = pq.read_table(stack.home / "runs" / run["id"] / "samples" / "epoch-00001.parquet").to_pylist()
    chosen = {row["sample_id"] for row in table if row["split"] == "train"}
    assert chosen == set(api.get(f"/subsets/{subset['id']}/samples", limit=500)["items"])


def test_it_begins_where_the_other_run_ended(tuned: dict[str, Any], api: Api) -> None:
    source, run = api.events(tuned["source"]["id"])[-2], api.events(tuned["run"]["id"])[1]
    first = api.events(tuned["source"]["id"])[1]
    loss = [event["validation"]["cross_entropy"]["fused"] for event in (first, source, run)]
    assert abs(loss[2] - loss[1]) < abs(loss[2] - loss[0]), "one epoch at a tenth of the learning rate moves little"


def test_lineage_is_shown_on_both_sides(tuned: dict[str, Any], api: Api) -> None:
    run, source, subset = tuned["run"], tuned["source"]["id"], tuned["subset"]
    by = {origin["through"]: origin for origin in run["derived_from"]}
    assert (by["start_from"]["run_id"], by["start_from"]["epoch"]) == (source, 3)
    assert (by["subset"]["run_id"], by["subset"]["epoch"], by["subset"]["subset_id"]) == (source, 2, subset["id"])
    assert run["resolved_spec"]["subset_digest"] == subset["digest"]
    assert tuned["source"]["derived_runs"] == [run["id"]]
    assert api.get(f"/subsets/{subset['id']}")["derived_runs"] == [run["id"]]


def test_a_clone_gives_the_same_though_subset_and_source_are_gone(tuned: dict[str, Any], api: Api) -> None:
    run = tuned["run"]
    assert api.http.delete(f"/subsets/{tuned['subset']['id']}").status_code == 200
    assert api.http.delete(f"/runs/{tuned['source']['id']}").status_code == 200
    clone = api.http.post(f"/runs/{run['id']}/clone")
    assert clone.status_code == 202, clone.text
    again = api.wait_for_state(clone.json()["id"], {"finished"})
    assert again["result"] == run["result"]
