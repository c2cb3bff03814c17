"""Samples by page, one sample, and what is counted from the tables."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.exporting import export_size, in_csv
from backend.routes.samples import _epochs
from tests.backend.conftest import Filled
from tests.backend.folders import CLASSES, media_bytes


def table_rows(filled: Filled, epoch: int = 3) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(filled.backend.home.run(filled.run).sample_table(epoch)).to_pylist()
    return rows


def all_pages(filled: Filled, **params: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = filled.backend.get(f"/runs/{filled.run}/samples", **params, **cursor)
        items += page["items"]
        if page["next"] is None:
            assert page["total"] == len(items)
            return items
        cursor = {"cursor": page["next"]}


@pytest.mark.parametrize("sort", ["gap", "-gap", "abs_gap", "-abs_gap", "label", "-label", "sample_id", "-loss_weight"])
def test_pages_hold_every_sample_once_in_order_with_missing_values_last(filled: Filled, sort: str) -> None:
    items = all_pages(filled, sort=sort, limit=37)
    assert len({item["sample_id"] for item in items}) == len(items) == 200
    name = sort.removeprefix("-")
    keys = [abs(item["gap"]) if name == "abs_gap" and item["gap"] is not None else item[name.removeprefix("abs_")]
            for item in items]  # fmt: skip
    present = [key for key in keys if key is not None]
    assert keys[len(present) :] == [None] * (len(keys) - len(present))
    assert present == sorted(present, reverse=sort.startswith("-"))


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"split": "validation"}, lambda row: row["split"] == "validation"),
        ({"min_gap": -0.25, "max_gap": 0.5}, lambda row: row["gap"] is not None and -0.25 <= row["gap"] <= 0.5),
        ({"min_posterior": 0.7}, lambda row: (row["posterior_imbalanced"] or 0) >= 0.7),
        ({"label": "=emu"}, lambda row: row["label"] == "=emu"),
        (
            {"fused_correct": True, "audio_correct": False},
            lambda row: row["fused_correct"] and not row["audio_correct"],
        ),
        ({"epoch": 1, "visual_correct": True}, None),
    ],
)
def test_filters_agree_with_the_table(filled: Filled, params: dict[str, Any], wanted: Any) -> None:
    items = all_pages(filled, limit=500, **params)
    wanted = wanted or (lambda row: row["visual_correct"])
    expected = {row["sample_id"] for row in table_rows(filled, params.get("epoch", 3)) if wanted(row)}
    assert {item["sample_id"] for item in items} == expected
    assert expected
    assert {item["epoch"] for item in items} == {params.get("epoch", 3)}


def test_row_carries_what_the_table_and_the_dataset_say(filled: Filled) -> None:
    item = filled.backend.get(f"/runs/{filled.run}/samples", sort="sample_id", limit=1)["items"][0]
    row = table_rows(filled)[0]
    assert item["p_true"] == {name: pytest.approx(row[f"p_true_{name}"]) for name in ("fused", "audio", "visual")}
    assert item["predicted"]["audio"] == row["predicted_audio"]
    assert item["notes"] == {"corrupted": "audio"}
    assert item["quality"]["width"] == 32.0


def test_cursor_belongs_to_its_filter(filled: Filled) -> None:
    path = f"/runs/{filled.run}/samples"
    cursor = filled.backend.get(path, limit=5)["next"]
    for params in ({"cursor": cursor, "split": "train"}, {"cursor": cursor, "sort": "gap"}, {"cursor": "x" * 40}):
        filled.backend.problem(filled.backend.http.get(path, params=params), 422, "invalid-cursor")
    other = f"/runs/{filled.runs[1]}/samples"
    filled.backend.problem(filled.backend.http.get(other, params={"cursor": cursor}), 422, "invalid-cursor")


def test_unknown_epoch_run_and_sample_are_not_found(filled: Filled) -> None:
    http, run = filled.backend.http, filled.run
    filled.backend.problem(http.get(f"/runs/{run}/samples", params={"epoch": 4}), 404, "epoch-not-found")
    filled.backend.problem(http.get("/runs/run-none/samples"), 404, "run-not-found")
    filled.backend.problem(http.get(f"/runs/{run}/samples/none"), 404, "sample-not-found")


def test_sample_over_epochs_agrees_with_all_tables(filled: Filled) -> None:
    document = filled.backend.get(f"/runs/{filled.run}/samples/clip-000006")
    rows = [table_rows(filled, epoch)[6] for epoch in (1, 2, 3)]
    assert [row["epoch"] for row in document["rows"]] == document["trajectory"]["epochs"] == [1, 2, 3]
    expected = [pytest.approx(row["gap"]) for row in rows]
    assert [row["gap"] for row in document["rows"]] == expected == document["trajectory"]["gap"]
    assert document["trajectory"]["posterior_imbalanced"] == [
        pytest.approx(row["posterior_imbalanced"]) for row in rows
    ]
    missing = filled.backend.get(f"/runs/{filled.run}/samples/clip-000049")
    assert missing["trajectory"]["gap"] == [None, None, None]


def test_media_address_serves_ranges_and_is_bound_to_its_file(filled: Filled) -> None:
    media = filled.backend.get(f"/runs/{filled.run}/samples/clip-000000")["media"]
    url = httpx.URL(filled.backend.url).join(media["video"])
    assert httpx.get(url).content == media_bytes()
    part = httpx.get(url, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert part.headers["content-range"] == "bytes 4-7/5000"
    assert httpx.get(url, headers={"Range": "bytes=-3"}).content == media_bytes()[-3:]
    assert httpx.get(url, headers={"Range": "lines=1-2"}).status_code == 200
    filled.backend.problem(httpx.get(url, headers={"Range": "bytes=5000-"}), 416, "range-not-satisfiable")
    assert httpx.get(httpx.URL(filled.backend.url).join(media["audio"])).headers["content-type"] == "audio/wav"
    other = str(url).replace("clip-000000", "clip-000001")
    filled.backend.problem(httpx.get(other), 403, "bad-signature")
    stale = re.sub(r"expires=\d+", "expires=1", str(url))
    filled.backend.problem(httpx.get(stale), 403, "bad-signature")
    filled.backend.problem(httpx.get(other.split("?")[0] + "?track=audio"), 404, "media-not-found")


def test_classes_confusion_and_cube_are_counted_from_the_table(filled: Filled) -> None:
    path = f"/runs/{filled.run}"
    rows = [row for row in table_rows(filled) if row["split"] == "validation"]
    classes = filled.backend.get(f"{path}/classes")
    assert [item["label"] for item in classes["items"]] == sorted(CLASSES)
    cats = [row for row in rows if row["label"] == "cat"]
    item = next(item for item in classes["items"] if item["label"] == "cat")
    assert item["num_samples"] == len(cats)
    assert item["accuracy"]["audio"] == pytest.approx(sum(row["audio_correct"] for row in cats) / len(cats))
    confusion = filled.backend.get(f"{path}/confusion", modality="audio")
    assert confusion["num_samples"] == len(rows) == sum(map(sum, confusion["counts"]))
    right = sum(confusion["counts"][i][i] for i in range(len(confusion["classes"])))
    assert right == sum(row["audio_correct"] for row in rows)
    cube = filled.backend.get(f"{path}/cube", split="train", epoch=2)
    assert cube["num_samples"] == sum(cell["num_samples"] for cell in cube["cells"]) == 100


def test_flow_counts_every_sample_and_heatmap_is_the_events_histograms(filled: Filled) -> None:
    flow = filled.backend.get(f"/runs/{filled.run}/flow", **{"from": 1, "to": 3})
    assert flow["num_samples"] == sum(link["num_samples"] for link in flow["links"]) == 100
    heatmap = filled.backend.get(f"/runs/{filled.run}/heatmap")
    assert heatmap["epochs"] == [1, 2, 3]
    assert all(len(counts) == 80 for counts in heatmap["counts"])
    assert filled.backend.get(f"/runs/{filled.run}/heatmap", split="test")["epochs"] == []


def test_diagnosis_gives_counts_and_no_causes(filled: Filled) -> None:
    diagnosis = filled.backend.get(f"/runs/{filled.run}/diagnosis")
    rows = [row for row in table_rows(filled) if row["split"] == "validation"]
    finding = next(item for item in diagnosis["findings"] if item["code"] == "accuracy-audio")
    assert (finding["numerator"], finding["denominator"]) == (sum(row["audio_correct"] for row in rows), len(rows))
    text = " ".join(item["text"] for item in diagnosis["findings"])
    assert not re.search(r"\b(because|causes?d?|due to|leads?|makes|suppress)\b", text)
    assert filled.backend.get(f"/runs/{filled.run}/diagnosis", split="test")["findings"]
    response = filled.backend.http.get(f"/runs/{filled.run}/diagnosis", params={"split": "test", "epoch": 1})
    filled.backend.problem(response, 404, "no-report")


def test_csv_export_is_safe_and_complete(filled: Filled) -> None:
    text = filled.backend.http.get(f"/runs/{filled.run}/export").text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 200
    assert {row["label"] for row in rows} == {"cat", "dog", "'=emu"}
    assert not re.search(r"(?m)(^|,)[=@]", text)
    narrowed = filled.backend.http.get(f"/runs/{filled.run}/export", params={"split": "test", "label": "cat"}).text
    assert {(row["split"], row["label"]) for row in csv.DictReader(io.StringIO(narrowed))} == {("test", "cat")}
    epochs = filled.backend.http.get(f"/runs/{filled.run}/export", params={"table": "epochs"}).text
    assert [(row["epoch"], row["protocol"]) for row in csv.DictReader(io.StringIO(epochs))] == [
        ("1", "honest"), ("2", "honest"), ("3", "honest"),
    ]  # fmt: skip


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_run_without_epochs_exports_a_table_without_rows(filled: Filled, format: str) -> None:
    run = filled.backend.http.post("/runs", json={"dataset": {"id": filled.dataset_id}}).json()["id"]
    try:
        response = filled.backend.http.get(f"/runs/{run}/export", params={"table": "epochs", "format": format})
        assert response.status_code == 200, response.text
        is_csv = format == "csv"
        read = response.text.split() if is_csv else pq.read_table(io.BytesIO(response.content)).column_names
        assert read == (["epoch,protocol"] if is_csv else ["epoch", "protocol"])
    finally:
        filled.backend.http.post(f"/runs/{run}/cancel")
        filled.backend.http.delete(f"/runs/{run}", params={"purge": True})


@pytest.mark.parametrize("table", ["samples", "epochs"])
def test_parquet_export_can_be_read_back(filled: Filled, table: str) -> None:
    response = filled.backend.http.get(f"/runs/{filled.run}/export", params={"table": table, "format": "parquet"})
    read = pq.read_table(io.BytesIO(response.content))
    assert read.num_rows == (200 if table == "samples" else 3)
    if table == "samples":
        assert read["gap"].to_pylist() == [row["gap"] for row in table_rows(filled)]


@pytest.mark.parametrize("wanted", [{}, {"split": "test", "label": "cat"}, {"label": "=emu"}, {"table": "epochs"}])
def test_the_size_of_an_export_is_known_before_it_is_made(filled: Filled, wanted: dict[str, str]) -> None:
    size = filled.backend.get(f"/runs/{filled.run}/export/size", **wanted)
    files = {
        kind: filled.backend.http.get(f"/runs/{filled.run}/export", params={**wanted, "format": kind}).content
        for kind in ("csv", "parquet")
    }
    assert size == {
        "num_rows": pq.read_table(io.BytesIO(files["parquet"])).num_rows,
        "csv_bytes": len(files["csv"]),
        "parquet_bytes": len(files["parquet"]),
        "exact": True,
    }


@pytest.mark.parametrize(("num_rows", "num_measured"), [(40_000, 4_000), (3, 3), (0, 0)])
def test_the_size_of_a_long_table_follows_from_its_first_rows(num_rows: int, num_measured: int) -> None:
    whole = pa.record_batch({"sample_id": [f"clip-{row:06d}" for row in range(num_rows)], "gap": [0.5] * num_rows})
    size = export_size(num_rows, [whole.slice(0, num_measured)])
    csv_bytes = sum(len(text) for text in in_csv([whole]))
    assert size.csv_bytes == csv_bytes
    assert (size.num_rows, size.exact) == (num_rows, num_rows == num_measured)


@pytest.mark.parametrize(
    ("newest", "last", "wanted", "expected"),
    [
        (200, 50, None, (151, 200)), (200, 50, 151, (151, 200)), (200, 50, 150, (126, 175)), (200, 50, 3, (1, 50)),
        (20, 50, 3, (1, 20)), (3, 1, 2, (2, 2)), (3, 1, 99, (3, 3)),
    ],
)  # fmt: skip
def test_rows_reach_the_epoch_that_is_asked_for(
    newest: int, last: int, wanted: int | None, expected: tuple[int, int]
) -> None:
    epochs = _epochs(newest, last, wanted)
    assert (epochs[0], epochs[-1]) == expected
    assert len(epochs) == min(last, newest)


def test_one_sample_has_the_row_of_an_older_epoch_and_its_gap_over_all(filled: Filled) -> None:
    expected = table_rows(filled, epoch=1)[0]
    sample = filled.backend.get(f"/runs/{filled.run}/samples/{expected['sample_id']}", last=1, epoch=1)
    assert [(row["epoch"], row["gap"]) for row in sample["rows"]] == [(1, pytest.approx(expected["gap"]))]
    assert sample["trajectory"]["epochs"] == [1, 2, 3]


def test_a_thinned_epoch_is_gone_and_the_kept_ones_are_named(filled: Filled) -> None:
    folder = filled.backend.home.run(filled.run)
    table = folder.sample_table(2)
    hidden = table.rename(table.with_name("hidden"))
    folder.thinned.write_text('{"every": 2}')
    try:
        answer = filled.backend.http.get(f"/runs/{filled.run}/samples", params={"epoch": 2})
        filled.backend.problem(answer, 410, "epoch-thinned")
        assert "1, 3" in answer.json()["detail"]
        assert filled.backend.get(f"/runs/{filled.run}")["samples_kept_every"] == 2
        sample = filled.backend.get(f"/runs/{filled.run}/samples/{table_rows(filled)[0]['sample_id']}", last=3)
        assert [row["epoch"] for row in sample["rows"]] == [1, 3]
        assert len(sample["trajectory"]["gap"]) == 3
    finally:
        hidden.rename(table)
        folder.thinned.unlink()
