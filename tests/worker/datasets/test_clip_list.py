from pathlib import Path

import pytest

from worker.contract.errors import DatasetError
from worker.datasets.clip_list import list_clips


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_in_a_folder_the_first_folder_that_is_no_split_is_the_label(tmp_path: Path) -> None:
    touch(tmp_path, "flat.mp4", "dog/1.mp4", "cat/alice/2.mov", "test/cat/3.mp4", "val/4.mp4", ".hidden.mp4")
    entries, skipped = list_clips(tmp_path)
    assert {entry.path.name: entry.label for entry in entries} == {
        "flat.mp4": "", "1.mp4": "dog", "2.mov": "cat", "3.mp4": "cat", "4.mp4": "",
    }  # fmt: skip
    assert [entry.path for entry in entries] == sorted(entry.path for entry in entries)
    assert skipped == []


def test_a_sound_is_that_of_its_video_or_a_clip_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.mp4", "dog/1.wav", "dog/2.wav", "dog/notes.txt")
    entries, skipped = list_clips(tmp_path)
    assert [(entry.path.name, entry.audio_path) for entry in entries] == [
        ("1.mp4", tmp_path / "dog/1.wav"),
        ("2.wav", None),
    ]
    assert [entry.label for entry in entries] == ["dog", "dog"]
    assert [clip.code for clip in skipped] == ["not-a-clip"]


def test_a_manifest_needs_no_labels_and_lists_what_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    (tmp_path / "m.csv").write_text("path,start_s\na.mp4,1.5\ngone.mp4,\n")
    entries, skipped = list_clips(tmp_path / "m.csv")
    assert [(entry.label, entry.start_s) for entry in entries] == [("", 1.5)]
    assert [clip.code for clip in skipped] == ["media-not-found"]
    (tmp_path / "labels.csv").write_text("path,label\na.mp4,dog\n")
    assert list_clips(tmp_path / "labels.csv")[0][0].label == "dog"


@pytest.mark.parametrize(("name", "code"), [("none", "dataset-not-found"), ("empty", "dataset-empty")])
def test_what_holds_no_clip_is_refused(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError) as caught:
        list_clips(tmp_path / name)
    assert caught.value.code == code


def test_a_manifest_without_paths_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("label\ndog\n")
    with pytest.raises(DatasetError, match="needs the columns path"):
        list_clips(tmp_path / "m.csv")
