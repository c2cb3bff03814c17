from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from worker.contract.errors import DatasetError
from worker.contract.spec.datasets import Manifest
from worker.datasets.manifest import ManifestDataset
from worker.datasets.source import DatasetListing, check_listing


def listing(
    folder: Path, text: str, *, files: tuple[str, ...] = ("a.mp4", "b.mp4", "c.mp4", "a.wav")
) -> DatasetListing:
    for name in files:
        (folder / name).write_bytes(b"x")
    path = folder / "list.csv"
    path.write_bytes(text.encode())
    return ManifestDataset(Manifest(path=str(path))).list(folder / "unused")


def refusal(folder: Path, text: str) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        listing(folder, text)
    return caught.value


def test_reads_all_columns_and_keeps_others_as_notes(tmp_path: Path) -> None:
    found = listing(
        tmp_path,
        "\ufeffpath,label,split,audio_path,id,group,start_s,end_s,mood\r\n"
        'a.mp4,"dog, big",train,a.wav,one,speaker1,0.5,1.5,happy\r\n'
        "b.mp4,cat,val,,,,,,\r\n"
        "\r\n"
        f"{tmp_path}/c.mp4,cat,TEST,,,,,,sad\r\n",
    )
    first, second, third = found.entries
    assert (first.sample_id, first.label, first.split, first.group) == ("one", "dog, big", "train", "speaker1")
    assert (first.path, first.audio_path) == (tmp_path / "a.mp4", tmp_path / "a.wav")
    assert (first.start_s, first.end_s, first.notes) == (0.5, 1.5, {"mood": "happy"})
    assert (second.sample_id, second.split, second.group) == ("b.mp4", "validation", None)
    assert (third.path, third.split) == (tmp_path / "c.mp4", "test")
    assert found.warnings == ("The column 'mood' is kept as a note.",)


def test_parts_of_one_file_get_ids_of_their_own(tmp_path: Path) -> None:
    found = listing(tmp_path, "path,label,split,start_s,end_s\na.mp4,x,train,0,1\na.mp4,y,train,1,2\nb.mp4,x,val,,\n")
    assert [entry.sample_id for entry in found.entries] == ["a.mp4@0-1", "a.mp4@1-2", "b.mp4"]


def test_a_missing_file_is_skipped_and_named(tmp_path: Path) -> None:
    found = listing(tmp_path, "path,label,split\na.mp4,x,train\nnone.mp4,y,train\nb.mp4,y,val\n")
    assert [entry.sample_id for entry in found.entries] == ["a.mp4", "b.mp4"]
    assert [(clip.sample_id, clip.code) for clip in found.skipped] == [("none.mp4", "media-not-found")]
    assert "none.mp4" in found.skipped[0].reason


def test_a_name_that_no_file_can_have_is_skipped(tmp_path: Path) -> None:
    found = listing(tmp_path, f"path,label,split\na.mp4,x,train\n{'n' * 300}.mp4,x,train\n")
    assert [entry.path.name for entry in found.entries] == ["a.mp4"]
    assert [clip.code for clip in found.skipped] == ["media-not-found"]
    assert "too long" in found.skipped[0].reason


def test_a_pipe_or_a_device_is_no_manifest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (str(tmp_path / "pipe.csv"), "/dev/zero"):
        with pytest.raises(DatasetError, match="no regular file") as caught:
            ManifestDataset(Manifest(path=path)).list(tmp_path)
        assert caught.value.code == "dataset-not-found"


def test_a_file_too_long_to_be_a_manifest_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(DatasetError, match="256 MiB"):
        ManifestDataset(Manifest(path=str(tmp_path / "huge.csv"))).list(tmp_path)


def test_validation_is_cut_by_group_where_there_is_none(tmp_path: Path) -> None:
    files = tuple(f"{k}.mp4" for k in range(40))
    rows = "".join(f"{k}.mp4,{'xy'[k % 2]},train,g{k // 4}\n" for k in range(40))
    found = listing(tmp_path, "path,label,split,group\n" + rows, files=files)
    validation = {entry.group for entry in found.entries if entry.split == "validation"}
    assert validation
    assert not validation & {entry.group for entry in found.entries if entry.split == "train"}
    assert len(found.warnings) == 2


def test_without_a_split_column_the_clips_are_split(tmp_path: Path) -> None:
    files = tuple(f"{k}.mp4" for k in range(40))
    found = listing(tmp_path, "path,label\n" + "".join(f"{k}.mp4,{'xy'[k % 2]}\n" for k in range(40)), files=files)
    assert Counter(entry.split for entry in found.entries) == {"train": 28, "validation": 6, "test": 6}


def test_a_misspelt_column_is_pointed_out(tmp_path: Path) -> None:
    found = listing(tmp_path, "path,label,split,audiopath\na.mp4,x,train,a.wav\nb.mp4,y,val,\n")
    assert "Did you mean 'audio_path'?" in found.warnings[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label,split\na.mp4,x,train\n", "lacks path"),
        ("", "lacks path, label"),
        ("path,label,split\na.mp4,x,training\n", "row 2: expected the split train"),
        ("path,label,split\na.mp4,,train\n", "row 2: expected a label, got nothing"),
        ("path,label,split,start_s\na.mp4,x,train,soon\n", "row 2: expected start_s in seconds, got 'soon'"),
        ("path,label,split,start_s\na.mp4,x,train,-1\n", "at least 0"),
        ("path,label,split,start_s,end_s\na.mp4,x,train,2,1\n", "expected end_s after start_s"),
        ("path,label,split\na.mp4,x,train,more\n", "more fields than the header"),
        ("path,label,label\na.mp4,x,train\n", "column 'label' twice"),
        ("path,label,split,id\na.mp4,x,train,a/b\n", "without /"),
        (f"path,label\na.mp4,{'x' * 201}\n", "a label of at most 200 printable characters"),
        ('path,label\na.mp4,"x\ny"\n', "printable characters"),
    ],
)
def test_faults_are_named_by_row(tmp_path: Path, text: str, message: str) -> None:
    error = refusal(tmp_path, text)
    assert error.code == "dataset-bad-manifest"
    assert message in error.detail


def test_many_faults_are_counted(tmp_path: Path) -> None:
    error = refusal(tmp_path, "path,label,split\n" + "a.mp4,x,nowhere\n" * 30)
    assert "row 2" in error.detail
    assert "and 20 more" in error.detail


def test_other_refusals(tmp_path: Path) -> None:
    assert refusal(tmp_path, "path,label,split\na.mp4,x,train\na.mp4,y,train\n").code == "dataset-duplicate-ids"
    (tmp_path / "latin.csv").write_bytes(b"path,label\n\xe4.mp4,x\n")
    for name, code in (("latin.csv", "dataset-bad-manifest"), ("none.csv", "dataset-not-found")):
        with pytest.raises(DatasetError) as caught:
            ManifestDataset(Manifest(path=str(tmp_path / name))).list(tmp_path)
        assert caught.value.code == code
    with pytest.raises(DatasetError) as caught:
        check_listing(listing(tmp_path, "path,label,split\nnone.mp4,x,train\nnot.mp4,y,train\n"))
    assert caught.value.code == "dataset-empty"
