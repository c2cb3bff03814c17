"""Quality of clips through the API: rows, filters, order, export, a dataset's counts, what a diagnosis says of it."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from backend.quality import DOMINANT_GAP, dataset_quality, fisher_exact
from backend.samples import SampleSort
from tests.backend.conftest import Filled, serving, settings_for
from tests.backend.folders import splits_of, write_dataset, write_run
from tests.conftest import ValkeyServer
from worker.contract.layout import Home
from worker.contract.quality import FLAGS, METRICS
from worker.science import metrics as science

COUNT = 400
VALIDATION = [index for index, split in enumerate(splits_of(COUNT)) if split == "validation"]
VISUAL, OTHERS = VALIDATION[:40], VALIDATION[40:]
SILENT = {*VISUAL[:19], *OTHERS[:2]}


def measures() -> dict[str, list[Any]]:
    """Returns the measures of COUNT clips: silence follows the planted groups, black pictures do not."""
    made: dict[str, list[Any]] = {metric.name: [0.0] * COUNT for metric in METRICS}
    made["silence_share"] = [0.9 if index in SILENT else 0.1 for index in range(COUNT)]
    made["black_share"] = [float(index in {*VISUAL[:4], *OTHERS[:5]}) for index in range(COUNT)]
    made["loudness_dbfs"] = [-120.0 if index in SILENT else -20.0 - index / COUNT for index in range(COUNT)]
    made["motion"] = [None] * COUNT
    made["content_hash"] = [f"{index:032x}" for index in range(COUNT)]
    for test, train in ((3, 0), (7, 0), (11, 4), (2, 5)):  # splits go train, train, validation, test
        made["content_hash"][test] = made["content_hash"][train]
    return made


def plant(home: Home, run_id: str) -> None:
    """Makes the VISUAL clips visual-dominant and the others similar, in the newest epoch."""
    path = home.run(run_id).sample_table(3)
    table = pq.read_table(path)
    gaps = np.full(COUNT, 0.1, np.float32)
    gaps[VISUAL] = -0.5
    table = table.set_column(table.schema.get_field_index("gap"), "gap", pa.array(gaps))
    pq.write_table(table, path)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, valkey_server: ValkeyServer) -> Iterator[Filled]:
    """A server whose home has a measured dataset with a run, and an older store with another."""
    url = valkey_server.url.replace("/0", "/3")
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    home = Home(tmp_path_factory.mktemp("measured") / "home")
    home.create()
    write_dataset(home, count=COUNT, measures=measures())
    write_dataset(home, count=COUNT, dataset_id="older")
    runs = [write_run(home, count=COUNT, dataset={"id": name}, minute=k) for k, name in enumerate(("clips", "older"))]
    for run in runs:
        plant(home, run)
    with serving(settings_for(home.path, url)) as running:
        yield Filled(running, runs, "clips")


def sample_ids(measured: Filled, **params: Any) -> list[str]:
    page = measured.backend.get(f"/runs/{measured.run}/samples", limit=500, **params)
    assert page["total"] == len(page["items"])
    return [item["sample_id"] for item in page["items"]]


def test_rows_and_a_sample_show_all_measures(measured: Filled) -> None:
    row = measured.backend.get(f"/runs/{measured.run}/samples", sort="sample_id", limit=1)["items"][0]
    assert {metric.name for metric in METRICS} < set(row["quality"])
    assert row["quality"]["silence_share"] == pytest.approx(0.1)
    assert row["quality"]["motion"] is None
    assert row["notes"] == {"corrupted": "audio"}
    sample = measured.backend.get(f"/runs/{measured.run}/samples/{row['sample_id']}")
    assert sample["quality"] == row["quality"]


def test_a_flag_and_terms_narrow_the_samples(measured: Filled) -> None:
    silent = {f"clip-{index:06d}" for index in SILENT}
    assert set(sample_ids(measured, flag="silent")) == silent
    assert set(sample_ids(measured, quality="silence_share>=0.9")) == silent
    assert set(sample_ids(measured, quality="silence_share>0.5,black_share<0.5", split="validation")) == {
        f"clip-{index:06d}" for index in {*VISUAL[4:19]}
    }
    assert sample_ids(measured, flag="frozen") == []


@pytest.mark.parametrize(
    "term", ["notes>1", "silence_share", "silence_share>1; DROP", "silence_share>1,", "gap>=0", "silence_share==1"]
)
def test_a_term_that_is_none_is_refused(measured: Filled, term: str) -> None:
    response = measured.backend.http.get(f"/runs/{measured.run}/samples", params={"quality": term})
    measured.backend.problem(response, 422, "invalid-request")


def test_samples_are_ordered_by_a_measure_over_pages(measured: Filled) -> None:
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = measured.backend.get(
            f"/runs/{measured.run}/samples", sort="-loudness_dbfs", split="validation", limit=30, **cursor
        )
        items += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    keys = [(-item["quality"]["loudness_dbfs"], item["sample_id"]) for item in items]
    assert keys == sorted(keys)
    assert len(keys) == len(VALIDATION)


def test_every_measure_can_be_sorted_by() -> None:
    sorts = set(SampleSort.__args__)
    assert {f"{sign}{metric.name}" for metric in METRICS for sign in ("", "-")} <= sorts


def test_exports_have_the_measures_in_the_stores_order(measured: Filled) -> None:
    for place, run in enumerate(measured.runs):
        text = measured.backend.http.get(f"/runs/{run}/export").text
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["sample_id"] for row in rows] == [f"clip-{index:06d}" for index in range(COUNT)]
        values = [row["silence_share"] for row in rows]
        assert "file_row_number" not in rows[0]
        if place:
            assert set(values) == {""}
        else:
            assert [float(value) > 0.5 for value in values] == [index in SILENT for index in range(COUNT)]


def test_an_older_store_has_null_measures_and_no_flags(measured: Filled) -> None:
    run = measured.runs[1]
    item = measured.backend.get(f"/runs/{run}/samples", limit=1)["items"][0]
    assert item["quality"]["silence_share"] is None
    assert item["quality"]["width"] == 32
    assert measured.backend.get(f"/runs/{run}/samples", flag="silent")["total"] == 0
    assert measured.backend.get(f"/runs/{run}/samples", sort="sharpness")["total"] == COUNT
    assert measured.backend.get("/datasets/older")["quality"] is None
    findings = measured.backend.get(f"/runs/{run}/diagnosis")["findings"]
    assert not [item for item in findings if item["p_value"] is not None]


def test_a_dataset_counts_its_flags_and_distributions(measured: Filled) -> None:
    quality = measured.backend.get("/datasets/clips")["quality"]
    flags = {item["flag"]: item for item in quality["flags"]}
    assert set(flags) == {flag.name for flag in FLAGS}
    assert flags["silent"]["num_clips"] == len(SILENT)
    assert flags["silent"]["splits"] == {"train": 0, "validation": 21, "test": 0}
    assert flags["silent"]["text"].startswith("21 of 400 clips are silent (at least 90 %")
    found = {item["metric"]: item for item in quality["metrics"]}
    assert set(found) == {"duration_s", *(metric.name for metric in METRICS)} - {"motion"}
    loudness = found["loudness_dbfs"]
    expected = np.quantile(np.float32(measures()["loudness_dbfs"]), [0.05, 0.25, 0.5, 0.75, 0.95])
    assert list(loudness["quantiles"].values()) == pytest.approx(expected.tolist())
    counts, edges = np.histogram(np.float32(measures()["loudness_dbfs"]).astype(float), bins=20)
    assert loudness["counts"] == counts.tolist()
    assert loudness["edges"] == pytest.approx(edges.tolist())
    assert found["duration_s"]["minimum"] == found["duration_s"]["maximum"] == 0.5
    assert (found["duration_s"]["edges"], found["duration_s"]["counts"]) == ([0.5, 0.5], [COUNT])  # one value: one bin


def test_the_page_of_a_dataset_can_be_counted_again_from_its_exported_table(measured: Filled) -> None:
    exported = measured.backend.http.get("/datasets/clips/export", params={"format": "parquet"})
    assert exported.headers["content-disposition"] == 'attachment; filename="clips-clips.parquet"'
    frame = pq.read_table(io.BytesIO(exported.content)).to_pandas()
    shown = measured.backend.get("/datasets/clips")
    assert shown["num_samples"] == len(frame)
    assert shown["splits"] == frame["split"].value_counts().to_dict()
    assert shown["class_counts"] == {
        split: rows["label"].value_counts()[lambda counts: counts > 0].to_dict()
        for split, rows in frame.groupby("split", observed=True)
    }
    for summary in shown["quality"]["metrics"]:
        values = frame[summary["metric"]].dropna().astype(float)
        assert (summary["num_clips"], summary["minimum"]) == (len(values), values.min())
        assert list(summary["quantiles"].values()) == pytest.approx(values.quantile([0.05, 0.25, 0.5, 0.75, 0.95]))
        assert summary["counts"] == np.histogram(values, bins=summary["edges"])[0].tolist()
    for flag in shown["quality"]["flags"]:
        assert flag["num_clips"] == int((frame[flag["metric"]] >= np.float32(flag["at_least"])).sum())


def test_clips_are_filtered_by_fault_and_by_id_with_their_measures(measured: Filled) -> None:
    first = measured.backend.get("/datasets/clips/samples", flag="silent", limit=5)
    rest = measured.backend.get("/datasets/clips/samples", flag="silent", limit=100, cursor=first["next"])
    silent = [*first["items"], *rest["items"]]
    assert [int(clip["sample_id"].removeprefix("clip-")) for clip in silent] == sorted(SILENT)
    assert all(clip["quality"]["silence_share"] >= np.float32(0.9) for clip in silent)
    some = measured.backend.get("/datasets/clips/samples", ids=["clip-000003", "clip-000001", "none"])["items"]
    assert [clip["sample_id"] for clip in some] == ["clip-000001", "clip-000003"]
    wrong = measured.backend.http.get("/datasets/clips/samples", params={"flag": "loud"})
    measured.backend.problem(wrong, 422, "invalid-request")
    csv = measured.backend.http.get("/datasets/clips/export", params={"flag": "silent"}).text
    assert len(csv.splitlines()) == len(SILENT) + 1


def test_the_counted_quality_is_kept_on_the_disk_until_the_table_changes(measured: Filled) -> None:
    folder = measured.backend.home.dataset("clips")
    kept, table = folder.path / "quality.json", folder.store / "samples.parquet"
    measured.backend.get("/datasets/clips")
    document = json.loads(kept.read_text())
    document["quality"]["num_same_content_within"] = 77
    kept.write_text(json.dumps(document))
    dataset_quality.cache_clear()
    assert measured.backend.get("/datasets/clips")["quality"]["num_same_content_within"] == 77
    os.utime(table, ns=(1, document["stamp"] + 1))
    assert measured.backend.get("/datasets/clips")["quality"]["num_same_content_within"] != 77


def test_content_in_two_splits_is_a_leak_with_both_ids(measured: Filled) -> None:
    quality = measured.backend.get("/datasets/clips")["quality"]
    assert [(leak["split"], leak["other_split"], leak["num_clips"]) for leak in quality["leaks"]] == [
        ("test", "train", 3),
        ("validation", "train", 1),
    ]
    assert quality["leaks"][0]["text"] == "3 of 100 test clips have the same content as training clips."
    assert [(pair["sample_id"], pair["other_sample_id"]) for pair in quality["same_content"]] == [
        ("clip-000003", "clip-000000"),
        ("clip-000007", "clip-000000"),
        ("clip-000011", "clip-000004"),
        ("clip-000002", "clip-000005"),
    ]
    assert quality["num_same_content_within"] == 1
    assert measured.backend.get("/datasets")["items"][0]["quality"] is None


def test_the_diagnosis_names_a_fault_that_a_group_has_more_often_and_no_other(measured: Filled) -> None:
    findings = measured.backend.get(f"/runs/{measured.run}/diagnosis")["findings"]
    compared = [item for item in findings if item["p_value"] is not None]
    assert [item["code"] for item in compared] == ["silent-visual-dominant"]
    (finding,) = compared
    assert (finding["numerator"], finding["denominator"]) == (19, 40)
    assert (finding["other_numerator"], finding["other_denominator"]) == (2, 60)
    assert finding["text"].startswith(
        "19 of 40 visual-dominant validation clips (48 %) are silent, against 2 of 60 of the others (3 %)"
    )
    assert finding["p_value"] < 0.005
    leaks = [item for item in findings if item["code"] == "same-content-train"]
    assert [(item["numerator"], item["denominator"]) for item in leaks] == [(1, 100)]


def test_the_diagnosis_is_silent_in_a_split_where_nothing_is_planted(measured: Filled) -> None:
    findings = measured.backend.get(f"/runs/{measured.run}/diagnosis", split="train")["findings"]
    assert not [item for item in findings if item["p_value"] is not None]


def test_fishers_test_gives_known_values() -> None:
    assert fisher_exact(3, 4, 1, 4) == pytest.approx(17 / 70)  # the lady tasting tea
    assert fisher_exact(4, 4, 0, 4) == pytest.approx(1 / 70)
    assert fisher_exact(0, 10, 0, 10) == pytest.approx(1.0)
    assert fisher_exact(0, 0, 5, 10) == 1.0
    big: Callable[[int], float] = lambda k: fisher_exact(k, 50_000, 1_000, 50_000)  # noqa: E731
    assert 0.4 < big(1_000) < 0.6
    assert big(1_300) < 1e-8
    assert math.isfinite(big(50_000))


def test_the_dominant_gap_is_that_of_the_reports() -> None:
    assert science.DOMINANT_GAP == DOMINANT_GAP
