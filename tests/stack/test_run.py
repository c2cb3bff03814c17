"""One run through all layers: request, queue, child, archive, Redis, events."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from tests.stack.driving import ENDED, Api, child_of, comparable, tiny_spec

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def finished(api: Api) -> dict[str, Any]:
    """A finished run, shared by the tests that only read."""
    return api.wait_for_state(api.launch(tiny_spec()), {"finished"})


def test_events_are_numbered_from_one_without_a_hole(api: Api, finished: dict[str, Any]) -> None:
    events = api.events(finished["id"])
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events] == ["run_started"] + ["epoch_finished"] * 4 + ["run_finished"]
    assert [event["epoch"] for event in events if event["type"] == "epoch_finished"] == [1, 2, 3, 4]
    assert [event["stage"] for event in events if event["type"] == "epoch_finished"] == ["warm-up"] + ["adaptive"] * 3


def test_what_the_api_says_is_what_the_run_folder_holds(api: Api, finished: dict[str, Any], stack: Any) -> None:
    lines = (stack.home / "runs" / finished["id"] / "events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == api.events(finished["id"])


def test_report_can_be_recomputed_from_the_sample_table(api: Api, finished: dict[str, Any], stack: Any) -> None:
    table = pq.read_table(stack.home / "runs" / finished["id"] / "samples" / "epoch-00004.parquet").to_pylist()
    rows = [row for row in table if row["split"] == "validation"]
    report = api.events(finished["id"])[-2]["validation"]
    assert report["num_samples"] == len(rows) == sum(report["histogram"]["counts"]) == 30
    assert report["accuracy"]["fused"] == pytest.approx(sum(row["fused_correct"] for row in rows) / len(rows))
    assert report["mean_gap"] == pytest.approx(sum(row["gap"] for row in rows) / len(rows), abs=1e-6)
    for row in rows:
        assert row["gap"] == pytest.approx(row["p_true_audio"] - row["p_true_visual"], abs=1e-6)


def test_test_split_is_looked_at_once_under_protocol_honest(api: Api, finished: dict[str, Any]) -> None:
    assert all(event["test"] is None for event in api.events(finished["id"]) if event["type"] == "epoch_finished")
    assert finished["result"]["last"]["test"]["num_samples"] == 40
    assert finished["result"]["chosen"]["by"] == "validation"


def test_samples_are_filtered_sorted_and_paged(api: Api, finished: dict[str, Any]) -> None:
    path, seen, cursor = f"/runs/{finished['id']}/samples", [], None
    while True:
        page = api.get(path, split="train", sort="-gap", limit=50, **({"cursor": cursor} if cursor else {}))
        seen += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert len({row["sample_id"] for row in seen}) == len(seen) == 120
    assert [row["gap"] for row in seen] == sorted((row["gap"] for row in seen), reverse=True)
    some = api.get(path, min_gap=0.0, max_gap=0.5)["items"]
    assert all(0.0 <= row["gap"] <= 0.5 for row in some)


def test_sample_is_followed_over_epochs_and_its_clip_is_served_in_ranges(
    api: Api, finished: dict[str, Any], stack: Any
) -> None:
    sample = api.get(f"/runs/{finished['id']}/samples", split="train", limit=1)["items"][0]["sample_id"]
    document = api.get(f"/runs/{finished['id']}/samples/{sample}")
    assert [row["epoch"] for row in document["rows"]] == [1, 2, 3, 4]
    assert document["trajectory"]["gap"] == pytest.approx([row["gap"] for row in document["rows"]])
    address = next(value for value in document["media"].values() if value)
    response = httpx.get(httpx.URL(stack.api_url).join(address), headers={"Range": "bytes=4-7"})
    assert (response.status_code, response.content) == (206, b"ftyp")


def test_two_runs_of_the_same_spec_are_equal_and_another_seed_is_not(api: Api, finished: dict[str, Any]) -> None:
    twin, other = api.launch(tiny_spec()), api.launch(tiny_spec(seed=1))
    for run in (twin, other):
        api.wait_for_state(run, {"finished"})
    assert comparable(api.events(twin)) == comparable(api.events(finished["id"]))
    assert comparable(api.events(other)) != comparable(api.events(finished["id"]))


def test_cancelled_run_ends_soon_and_can_be_resumed_to_its_end(api: Api) -> None:
    run = api.launch(tiny_spec(epochs=40, name="to be cancelled"))
    api.wait_for_epoch(run, 2)
    assert api.http.post(f"/runs/{run}/cancel").status_code == 202
    cancelled = api.wait_for_state(run, {"cancelled"}, timeout_s=15)
    assert child_of(run) is None
    assert api.events(run)[-1]["type"] == "run_cancelled"
    assert api.http.post(f"/runs/{run}/cancel").status_code == 409
    assert api.http.post(f"/runs/{run}/resume").status_code == 202
    api.wait_for_epoch(run, cancelled["progress"]["epoch"] + 1)
    api.http.post(f"/runs/{run}/cancel")
    api.wait_for_state(run, ENDED, timeout_s=15)
    epochs = [event["epoch"] for event in api.events(run) if event["type"] == "epoch_finished"]
    assert epochs == list(range(1, len(epochs) + 1))


def test_run_on_bad_data_fails_with_its_reason(api: Api, stack: Any) -> None:
    folder = stack.home / "one-class" / "train" / "only"
    folder.mkdir(parents=True)
    (folder / "a.mp4").write_bytes(b"this is no film")
    run = api.launch(tiny_spec(dataset={"kind": "folder", "path": str(folder.parents[1])}))
    failed = api.wait_for_state(run, {"failed"}, timeout_s=60)
    assert failed["error"]["code"]
    assert failed["error"]["detail"]


def test_deleted_run_goes_to_the_trash_and_its_address_is_gone(api: Api, finished: dict[str, Any]) -> None:
    run = api.launch(tiny_spec(epochs=1))
    api.wait_for_state(run, {"finished"})
    response = api.http.delete(f"/runs/{run}")
    assert response.status_code == 200
    assert response.json()["reclaimable_bytes"] > 0
    assert api.http.get(f"/runs/{run}").status_code == 404
