"""Tags and notes on clips: kept, changed in bulk, filtered by, exported, whole after a crash."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from backend.annotations import Annotations
from tests.backend.conftest import Backend, Filled
from worker.contract.annotations import AnnotationChange
from worker.contract.errors import CorruptRecordError
from worker.contract.layout import Home

NOW = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clean(filled: Filled) -> Iterator[None]:
    yield
    filled.backend.home.dataset(filled.dataset_id).annotations.unlink(missing_ok=True)


def post(filled: Filled, **body: Any) -> Any:
    return filled.backend.http.post(f"/datasets/{filled.dataset_id}/annotations", json=body)


def rows(filled: Filled, **params: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = filled.backend.get(f"/runs/{filled.run}/samples", limit=500, **params)["items"]
    return items


def test_a_clip_keeps_its_tags_and_note_across_runs_and_restarts(filled: Filled) -> None:
    path = f"/datasets/{filled.dataset_id}/samples/clip-000006/annotations"
    edit = {"tags": ["mislabelled", "off-screen sound"], "note": " a dog, not a cat "}
    put = filled.backend.http.put(path, json=edit)
    assert put.status_code == 200, put.text
    said = filled.backend.get(path)
    assert [one["tag"] for one in said["tags"]] == ["mislabelled", "off-screen sound"]
    assert (said["note"], said["note_by"], said["tags"][0]["by"]) == ("a dog, not a cat", "local", "local")
    for run in filled.runs[:2]:
        sample = filled.backend.get(f"/runs/{run}/samples/clip-000006")
        assert sample["annotation"] == said
        assert sample["rows"][-1]["tags"] == ["mislabelled", "off-screen sound"]
    assert Annotations(filled.backend.home).of(filled.dataset_id, "clip-000006").note == "a dog, not a cat"
    filled.backend.http.put(path, json={"tags": ["mislabelled"]})
    after = filled.backend.get(path)
    assert [one["tag"] for one in after["tags"]] == ["mislabelled"]
    assert (after["note"], after["note_by"], after["tags"][0]["at"]) == ("", None, said["tags"][0]["at"])


def test_a_selection_is_tagged_at_once_and_the_tag_is_a_filter(filled: Filled) -> None:
    wrong = {one["sample_id"] for one in rows(filled, split="train", fused_correct=False)}
    body = {"run_id": filled.run, "filter": {"split": "train", "fused_correct": False}, "add_tags": ["exclude"]}
    assert post(filled, **body).json() == {"num_samples": len(wrong), "num_changed": len(wrong)}
    assert post(filled, **body).json()["num_changed"] == 0
    assert {one["sample_id"] for one in rows(filled, tag="exclude")} == wrong
    assert all(one["tags"] == ["exclude"] for one in rows(filled, tag="exclude"))
    others = {one["sample_id"] for one in rows(filled, without_tag="exclude")}
    assert len(others) == 200 - len(wrong)
    assert not others & wrong
    summary = filled.backend.get(f"/datasets/{filled.dataset_id}/annotations/summary")
    assert summary == {
        "tags": [{"tag": "exclude", "num_samples": len(wrong)}],
        "num_annotated": len(wrong),
        "num_noted": 0,
    }
    assert filled.backend.get(f"/runs/{filled.run}/cube", split="train", tag="exclude")["num_samples"] == len(wrong)
    first = sorted(wrong)[0]
    post(filled, sample_ids=[first], remove_tags=["exclude"], note="fine after all")
    assert {one["sample_id"] for one in rows(filled, tag="exclude")} == wrong - {first}
    assert [one["sample_id"] for one in rows(filled, has_note=True)] == [first]


def test_annotations_are_listed_by_pages_and_exported(filled: Filled) -> None:
    ids = [f"clip-{number:06d}" for number in range(7)]
    post(filled, sample_ids=ids, add_tags=["=hard"], note="=1+1")
    path, seen, cursor = f"/datasets/{filled.dataset_id}/annotations", [], {}
    while True:
        page = filled.backend.get(path, tag="=hard", limit=3, **cursor)
        seen += [one["sample_id"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == ids
    read = list(csv.DictReader(io.StringIO(filled.backend.http.get(f"{path}/export").text)))
    assert len(read) == 14
    assert {row["text"] for row in read} == {"'=hard", "'=1+1"}
    parquet = pq.read_table(io.BytesIO(filled.backend.http.get(f"{path}/export", params={"format": "parquet"}).content))
    assert parquet.num_rows == 14
    exported = filled.backend.http.get(f"/runs/{filled.run}/export", params={"format": "parquet", "tag": "=hard"})
    table = pq.read_table(io.BytesIO(exported.content)).to_pylist()
    assert [(row["sample_id"], row["tags"], row["note"]) for row in table] == [(one, "=hard", "=1+1") for one in ids]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"sample_ids": ["none"], "add_tags": ["a"]}, "annotation-unknown-sample"),
        ({"sample_ids": ["clip-000001"]}, "validation"),
        ({"sample_ids": ["clip-000001"], "add_tags": ["a"], "remove_tags": ["a"]}, "validation"),
        ({"sample_ids": ["clip-000001"], "add_tags": ["a,b"]}, "validation"),
        ({"filter": {"split": "train"}, "add_tags": ["a"]}, "validation"),
        ({"sample_ids": ["clip-000001"], "add_tags": [f"tag {n}" for n in range(33)]}, "validation"),
    ],
)
def test_what_makes_no_sense_is_refused(filled: Filled, body: dict[str, Any], code: str) -> None:
    answer = post(filled, **body)
    assert answer.status_code == 422
    assert code in (answer.json()["code"], "validation")


def test_a_filter_that_nothing_passes_and_another_dataset_are_refused(filled: Filled) -> None:
    empty = post(filled, run_id=filled.run, filter={"min_gap": 1.0, "max_gap": -1.0}, add_tags=["a"])
    filled.backend.problem(empty, 422, "annotation-empty")
    answer = filled.backend.http.get("/datasets/none/annotations")
    filled.backend.problem(answer, 404, "dataset-not-found")


def test_tags_beyond_the_most_are_refused_and_nothing_is_written(filled: Filled) -> None:
    post(filled, sample_ids=["clip-000001"], add_tags=[f"tag {n}" for n in range(32)])
    answer = post(filled, sample_ids=["clip-000000", "clip-000001"], add_tags=["one more"])
    assert answer.status_code == 422
    assert answer.json()["code"] == "too-many-tags"
    assert filled.backend.get(f"/datasets/{filled.dataset_id}/samples/clip-000000/annotations")["tags"] == []


def home_of(path: Path) -> Home:
    home = Home(path)
    home.create()
    home.dataset("d").path.mkdir(parents=True)
    return home


def change(tag: str, *sample_ids: str) -> AnnotationChange:
    return AnnotationChange(at=NOW, by="me", sample_ids=list(sample_ids), add_tags=[tag])


def test_a_line_cut_off_by_a_crash_is_passed_over_and_removed_by_the_next_writer(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    Annotations(home).change("d", change("hard", "a"))
    path = home.dataset("d").annotations
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole + whole[:cut])
        fresh = Annotations(home)
        assert fresh.with_tag("d", "hard") == ["a"]
        fresh.change("d", change("more", "b"))
        assert fresh.with_tag("d", "more") == ["b"]
        assert [json.loads(line)["add_tags"] for line in path.read_bytes().splitlines()] == [["hard"], ["more"]]


def test_two_processes_see_each_others_changes(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    mine, theirs = Annotations(home), Annotations(home)
    mine.change("d", change("x", "a"))
    theirs.change("d", change("x", "b"))
    assert sorted(mine.with_tag("d", "x")) == sorted(theirs.with_tag("d", "x")) == ["a", "b"]


def test_a_damaged_line_is_told_with_its_file_and_a_remedy(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    home.dataset("d").annotations.write_text('{"nonsense": 1}\n')
    with pytest.raises(CorruptRecordError, match=r"annotations\.jsonl has a line at byte 0"):
        Annotations(home).summary("d")


def test_annotations_outlive_redis(backend: Backend) -> None:
    from tests.backend.folders import write_dataset

    write_dataset(backend.home, count=8)
    backend.services.rebuilder.run_if_emptied()
    backend.services.annotations.change("clips", change("hard", "clip-000001"))
    backend.services.redis.flushdb()
    backend.services.rebuilder.run_if_emptied()
    assert backend.get("/datasets/clips/annotations/summary")["tags"] == [{"tag": "hard", "num_samples": 1}]
