"""What is asked of a run's samples beside an epoch's table, each counted again from the exported files."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from backend.spreads import CHANGING, LEAD
from tests.backend.conftest import Filled


def exported(filled: Filled, **params: Any) -> list[dict[str, Any]]:
    answer = filled.backend.http.get(f"/runs/{filled.run}/export", params={"format": "parquet", **params})
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    return rows


def listed(filled: Filled, **params: Any) -> list[dict[str, Any]]:
    page = filled.backend.get(f"/runs/{filled.run}/samples", limit=500, **params)
    assert page["total"] == len(page["items"])
    items: list[dict[str, Any]] = page["items"]
    return items


def test_right_or_wrong_by_modality_is_counted_under_every_filter(filled: Filled) -> None:
    filters = {"split": "train", "min_gap": -0.3, "label": "dog"}
    rows = exported(filled, **filters)
    cells = filled.backend.get(f"/runs/{filled.run}/cube", **filters)["cells"]
    names = ("fused_correct", "audio_correct", "visual_correct")
    for cell in cells:
        mine = [row for row in rows if all(row[name] == cell[name] for name in names)]
        assert cell["num_samples"] == len(mine) > 0
        assert cell["mean_gap"] == pytest.approx(np.mean([row["gap"] for row in mine]))
    assert sum(cell["num_samples"] for cell in cells) == len(rows)


@pytest.mark.parametrize("name", ["fused", "audio", "visual"])
def test_loss_of_the_true_class_orders_the_samples(filled: Filled, name: str) -> None:
    losses = [-math.log(row["p_true"][name]) for row in listed(filled, sort=f"-loss_{name}")]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(max(-math.log(row[f"p_true_{name}"]) for row in exported(filled)), rel=1e-5)


@pytest.mark.parametrize("sort", ["gap_change", "-gap_change", "-abs_gap_change"])
def test_changes_since_an_epoch_are_those_between_two_tables(filled: Filled, sort: str) -> None:
    before = {row["sample_id"]: row for row in exported(filled, epoch=1)}
    items = listed(filled, since=1, sort=sort)
    changes = []
    for item in items:
        assert item["gap_before"] == pytest.approx(before[item["sample_id"]]["gap"])
        assert item["fused_was_correct"] == before[item["sample_id"]]["fused_correct"]
        if item["gap"] is not None:
            changes.append(item["gap"] - item["gap_before"])
    keys = [abs(one) for one in changes] if "abs" in sort else changes
    assert keys == pytest.approx(sorted(keys, reverse=sort.startswith("-")))
    assert len(items) - len(changes) == 4


def test_those_that_became_right_or_wrong_are_found(filled: Filled) -> None:
    before = {row["sample_id"]: row["fused_correct"] for row in exported(filled, epoch=1)}
    now = {row["sample_id"]: row["fused_correct"] for row in exported(filled)}
    for changed, wanted in (
        ("became_right", lambda old, new: new and not old),
        ("became_wrong", lambda old, new: old and not new),
        ("any", lambda old, new: old != new),
    ):
        expected = {one for one in now if wanted(before[one], now[one])}
        assert {row["sample_id"] for row in listed(filled, since=1, changed=changed)} == expected != set()
        assert {row["sample_id"] for row in exported(filled, since=1, changed=changed)} == expected


def test_a_change_needs_an_epoch_to_count_from(filled: Filled) -> None:
    http, path = filled.backend.http, f"/runs/{filled.run}/samples"
    for params in ({"sort": "gap_change"}, {"changed": "any"}):
        assert "since" in http.get(path, params=params).text
        assert http.get(path, params=params).status_code == 422
    filled.backend.problem(http.get(path, params={"since": 9}), 404, "epoch-not-found")


def test_corruption_that_came_with_the_data_is_a_filter(filled: Filled) -> None:
    assert filled.backend.get(f"/datasets/{filled.dataset_id}/notes") == {"notes": {"corrupted": {"audio": 20}}}
    expected = {f"clip-{number:06d}" for number in range(0, 200, 10)}
    for noted in ("corrupted", "corrupted=audio"):
        assert {row["sample_id"] for row in listed(filled, noted=noted)} == expected
    assert listed(filled, noted="corrupted=visual") == []


def spread_of(filled: Filled) -> dict[str, tuple[float, float]]:
    gaps: dict[str, list[float]] = {}
    for epoch in (1, 2, 3):
        for row in exported(filled, epoch=epoch):
            if row["gap"] is not None:
                gaps.setdefault(row["sample_id"], []).append(row["gap"])
    return {one: (float(np.mean(values)), float(np.std(values))) for one, values in gaps.items()}


def region_of(mean: float, deviation: float) -> str:
    if deviation >= CHANGING:
        return "changing"
    return "similar" if abs(mean) < LEAD else "steady_audio" if mean > 0 else "steady_visual"


def test_the_map_is_mean_and_spread_of_each_clip_and_its_regions_select(filled: Filled) -> None:
    shown = filled.backend.get(f"/runs/{filled.run}/map", split="train")
    train = {row["sample_id"] for row in exported(filled, split="train")}
    expected = {one: value for one, value in spread_of(filled).items() if one in train}
    assert shown["num_samples"] == len(expected) == sum(one["num_samples"] for one in shown["bins"])
    for point in shown["points"]:
        found = (point["mean_gap"], point["gap_deviation"])
        assert found == pytest.approx(expected.pop(point["sample_id"]), abs=1e-4)
    assert not expected
    spread = {one: value for one, value in spread_of(filled).items() if one in train}
    for region in shown["regions"]:
        mine = {one for one, value in spread.items() if region_of(*value) == region["name"]}
        assert region["num_samples"] == len(mine)
        assert {row["sample_id"] for row in listed(filled, split="train", region=region["name"])} == mine
    box = {"min_mean_gap": -0.2, "max_mean_gap": 0.3, "min_gap_deviation": 0.1, "max_gap_deviation": 0.4}
    inside = {one for one, (mean, deviation) in spread.items() if -0.2 <= mean <= 0.3 and 0.1 <= deviation <= 0.4}
    assert {row["sample_id"] for row in listed(filled, split="train", **box)} == inside != set()


def test_one_epoch_alone_has_no_spread_and_an_unknown_epoch_is_not_found(filled: Filled) -> None:
    shown = filled.backend.get(f"/runs/{filled.run}/map", epoch=2, over_from=2)
    assert (shown["from_epoch"], shown["to_epoch"], shown["num_epochs"]) == (2, 2, 1)
    assert {point["gap_deviation"] for point in shown["points"]} == {0.0}
    answer = filled.backend.http.get(f"/runs/{filled.run}/map", params={"epoch": 9})
    filled.backend.problem(answer, 404, "epoch-not-found")


def test_pages_under_filters_beside_the_table_hold_every_sample_once(filled: Filled) -> None:
    params = {"since": 1, "sort": "-abs_gap_change", "region": "changing"}
    whole = [row["sample_id"] for row in listed(filled, **params)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = filled.backend.get(f"/runs/{filled.run}/samples", limit=7, **params, **cursor)
        seen += [row["sample_id"] for row in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == whole
    assert len(set(seen)) == len(seen) > 7
