from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from worker.contract.errors import DatasetError
from worker.contract.spec.datasets import Folder
from worker.datasets.folder import FolderDataset
from worker.datasets.source import DatasetListing, check_listing


def tree(root: Path, *places: str) -> Path:
    for place in places:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def listing(root: Path, seed: int = 0) -> DatasetListing:
    return FolderDataset(Folder(path=str(root), seed=seed)).list(root / "unused")


def test_reads_splits_and_classes(tmp_path: Path) -> None:
    tree(tmp_path, "train/dog/a.mp4", "train/cat/b.MKV", "val/dog/c.webm", "test/cat/d.mov", "train/dog/.hidden.mp4")
    found = listing(tmp_path)
    assert found.classes == ("cat", "dog")
    assert [(e.sample_id, e.label, e.split) for e in found.entries] == [
        ("test__cat__d.mov", "cat", "test"),
        ("train__cat__b.MKV", "cat", "train"),
        ("train__dog__a.mp4", "dog", "train"),
        ("val__dog__c.webm", "dog", "validation"),
    ]
    assert not found.skipped
    assert not found.warnings


def test_splits_class_folders_by_seed(tmp_path: Path) -> None:
    tree(tmp_path, *(f"{name}/{k}.mp4" for name in ("a", "b") for k in range(20)))
    found = listing(tmp_path)
    assert Counter(e.split for e in found.entries) == {"train": 28, "validation": 6, "test": 6}
    assert found == listing(tmp_path)
    assert [e.split for e in found.entries] != [e.split for e in listing(tmp_path, seed=1).entries]


def test_cuts_a_validation_split_and_says_so_and_that_there_is_no_test(tmp_path: Path) -> None:
    tree(tmp_path, *(f"train/{name}/{k}.mp4" for name in ("a", "b") for k in range(20)))
    found = listing(tmp_path)
    assert Counter(e.split for e in found.entries)["validation"] == 6
    assert any("validation" in warning for warning in found.warnings)
    assert any("no test split" in warning for warning in found.warnings)


def test_a_sound_file_beside_a_video_is_its_sound(tmp_path: Path) -> None:
    tree(tmp_path, "train/a/x.flv", "train/a/x.wav", "train/a/lonely.wav", "train/a/readme.txt", "train/b/y.mp4")
    found = listing(tmp_path)
    assert [(e.path.name, e.audio_path.name if e.audio_path else None) for e in found.entries] == [
        ("x.flv", "x.wav"),
        ("y.mp4", None),
    ]
    assert {clip.path.rsplit("/", 1)[1]: clip.code for clip in found.skipped} == {
        "lonely.wav": "media-no-visual",
        "readme.txt": "not-a-clip",
    }


def test_folders_inside_a_class_are_groups_kept_together(tmp_path: Path) -> None:
    tree(tmp_path, *(f"{name}/speaker{s}/{k}.mp4" for name in ("a", "b") for s in range(8) for k in range(5)))
    places: dict[str | None, set[str]] = {}
    for entry in listing(tmp_path).entries:
        places.setdefault(entry.group, set()).add(entry.split)
    assert len(places) == 16
    assert all(len(splits) == 1 for splits in places.values())


def test_a_name_that_is_no_text_is_skipped(tmp_path: Path) -> None:
    tree(tmp_path, "train/a/x.mp4", "train/b/y.mp4")
    (tmp_path / "train" / "a" / os.fsdecode(b"\xff.mp4")).write_bytes(b"x")
    found = listing(tmp_path)
    assert [entry.path.name for entry in found.entries] == ["x.mp4", "y.mp4"]
    assert [(clip.code, clip.sample_id) for clip in found.skipped] == [("bad-name", "train__a__\\xff.mp4")]


def test_refuses_what_cannot_be_trained_on(tmp_path: Path) -> None:
    cases = {
        "dataset-empty": tree(tmp_path / "empty", "readme.txt"),
        "dataset-not-found": tmp_path / "missing",
        "dataset-one-class": tree(tmp_path / "one", "train/a/x.mp4"),
        "dataset-no-train": tree(tmp_path / "no-train", "test/a/x.mp4", "test/b/y.mp4"),
        "dataset-class-not-in-train": tree(tmp_path / "class", "train/a/x.mp4", "test/b/y.mp4"),
    }
    for code, root in cases.items():
        with pytest.raises(DatasetError) as caught:
            check_listing(listing(root))
        assert caught.value.code == code


def test_the_empty_dataset_says_why(tmp_path: Path) -> None:
    tree(tmp_path, "train/a/x.docx")
    with pytest.raises(DatasetError, match=r"\.docx is no video format"):
        check_listing(listing(tmp_path))
