from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.worker.datasets.corpus_trees import KS_CLASSES, kinetics_sounds, ks_clips, ks_frames, ks_lists, place
from worker.contract.errors import DatasetError
from worker.contract.spec.corpora import KineticsSounds
from worker.contract.spec.preprocess import PreprocessSpec
from worker.datasets.kinetics_sounds import KineticsSoundsDataset
from worker.datasets.prepare import prepare
from worker.datasets.source import DatasetListing
from worker.datasets.store import PreparedStore

SMALL = PreprocessSpec(duration_s=0.8, sample_rate_hz=8_000, num_mels=16, num_frames=2, frame_size=24, crop_size=16)
LISTS = {"train_list": "train.txt", "test_list": "test.txt"}
FORMS = ["label,clip", "clip,10,classid", "clip ... int"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kinetics_sounds(tmp_path_factory.mktemp("kinetics-sounds"))


@pytest.fixture
def tree(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "tree"))


def listing(root: Path, **fields: Any) -> DatasetListing:
    return KineticsSoundsDataset(KineticsSounds(path=str(root), **fields)).list(root / "unused")


def refused(root: Path, **fields: Any) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        listing(root, **fields)
    return caught.value


@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_prepares_the_official_folders(whole: Path, tmp_path: Path, protocol: str) -> None:
    spec = KineticsSounds(path=str(whole), protocol=protocol, validation_share=0.25, preprocess=SMALL)
    summary = prepare(spec, tmp_path, num_processes=1)
    store = PreparedStore.open(tmp_path / "store", verify=True)
    assert store.classes == tuple(sorted(KS_CLASSES))
    assert summary.record.splits == {"train": 9, "validation": 3, "test": 6}
    assert store.groups[store.sample_ids.index(ks_clips("train", "tap dancing")[1])] == "t_-abcdef01"


def test_clips_converted_to_avi_are_read_too(tree: Path, tmp_path: Path) -> None:
    for path in tree.rglob("*.mp4"):
        place(path.with_suffix(".avi"), video="mpeg4", audio="libmp3lame")
        path.unlink()
    ks_lists(tree, "clip ... int")
    spec = KineticsSounds(path=str(tree), preprocess=SMALL, **LISTS)
    record = prepare(spec, tmp_path / "dataset", num_processes=1).record
    assert (record.num_samples, record.num_skipped, record.classes) == (18, 0, tuple(sorted(KS_CLASSES)))


@pytest.mark.parametrize("form", FORMS)
def test_reads_the_lists_of_each_author_and_names_the_classes_by_folder(tree: Path, form: str) -> None:
    ks_lists(tree, form)
    found = listing(tree, **LISTS)
    assert found.classes == tuple(sorted(KS_CLASSES))
    assert {entry.sample_id for entry in found.entries if entry.split == "test"} == {
        clip for label in KS_CLASSES for clip in ks_clips("test", label)
    }
    assert {(entry.label, entry.path.parent.name) for entry in found.entries} == {(name, name) for name in KS_CLASSES}


def test_a_validate_folder_is_the_validation_split(tree: Path) -> None:
    for label in KS_CLASSES:
        clip = ks_clips("train", label)[0]
        (tree / "validate" / label).mkdir(parents=True)
        (tree / "train" / label / f"{clip}.mp4").rename(tree / "validate" / label / f"{clip}.mp4")
    assert Counter(entry.split for entry in listing(tree).entries) == {"train": 9, "validation": 3, "test": 6}


def test_two_clips_of_one_video_stay_in_one_split_under_honest(tree: Path) -> None:
    video = ks_clips("test", "tap dancing")[0][:11]
    place(tree / "train" / "tap dancing" / f"{video}_000500_000510.mp4")
    found = listing(tree)
    assert [(clip.sample_id, clip.code) for clip in found.skipped] == [
        (f"{video}_000500_000510", "group-in-two-splits")
    ]
    assert len(listing(tree, protocol="paper").entries) == 19


def test_a_clip_in_two_folders_stays_in_test(tree: Path) -> None:
    clip = ks_clips("test", "tap dancing")[0]
    place(tree / "train" / "tap dancing" / f"{clip}.mp4")
    for protocol in ("paper", "honest"):
        found = listing(tree, protocol=protocol)
        assert [(one.sample_id, one.code) for one in found.skipped] == [(clip, "clip-in-two-splits")]
        assert {entry.split for entry in found.entries if entry.sample_id == clip} == {"test"}


@pytest.mark.parametrize(
    ("form", "line", "code", "text"),
    [
        ("label,clip", "tap dancing,t_-abcdef00_000000_000010,1", "dataset-bad-list", "line 13 has 3"),
        ("clip,10,classid", "t_-abcdef00_000000_000010,10", "dataset-bad-list", "line 13 has 2"),
        ("clip,10,classid", "t_-abcdef00_000000_000010,10,dancing", "dataset-bad-list", "line 13 has 'dancing'"),
        ("clip ... int", "lonely", "dataset-bad-list", "line 13 has 'lonely'"),
        ("clip,10,classid", "g_-abcdef00_000000_000010,10,1", "dataset-label-conflict", "class 1 is in"),
        ("label,clip", "ripping paper,t_-abcdef00_000000_000010", "dataset-label-conflict", "train.txt, line 13"),
        ("label,clip", "clarinet,missing", "dataset-class-not-in-train", "'clarinet'"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tree: Path, form: str, line: str, code: str, text: str) -> None:
    ks_lists(tree, form)
    path = tree / "train.txt"
    path.write_text(f"{path.read_text()}{line}\n")
    error = refused(tree, **LISTS)
    assert error.code == code
    assert text in error.detail


def test_a_listed_clip_that_is_nowhere_is_left_out_with_the_place_where_it_belongs(tree: Path) -> None:
    ks_lists(tree, "label,clip")
    clip = ks_clips("train", "tap dancing")[0]
    (tree / "train" / "tap dancing" / f"{clip}.mp4").unlink()
    found = listing(tree, **LISTS)
    assert [(one.sample_id, one.code) for one in found.skipped] == [(clip, "media-not-found")]
    assert f"{tree}/<split>/<class>/{clip}.mp4" in found.skipped[0].reason


def test_a_tree_without_split_folders_or_lists_is_refused(tree: Path) -> None:
    assert "train.txt" in refused(tree, **LISTS).detail
    for split in ("train", "test"):
        (tree / split).rename(tree / f"my {split}")
    assert refused(tree).code == "dataset-layout-incomplete"


def test_lists_come_in_pairs_and_frames_need_them() -> None:
    for fields in ({"train_list": "a"}, {"validation_list": "a"}, {"layout": "frames"}):
        with pytest.raises(ValidationError, match="list"):
            KineticsSounds.model_validate({"path": "/data", **fields})


@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_frames_as_pictures_are_prepared_with_their_lists(tmp_path: Path, protocol: str) -> None:
    root = ks_frames(tmp_path / "tree")
    preprocess = SMALL.model_copy(update={"num_frames": 3})
    spec = KineticsSounds(path=str(root), protocol=protocol, layout="frames", preprocess=preprocess, **LISTS)
    summary = prepare(spec, tmp_path / "dataset", num_processes=1)
    store = PreparedStore.open(tmp_path / "dataset" / "store", verify=True)
    assert summary.record.num_samples == 18
    assert store.classes == ("0", "1", "2")
    frames, _ = store.batch([0])
    levels = [float(frame.mean()) for frame in frames[0]]
    assert levels == sorted(levels)
    assert levels[0] < 100 < 160 < levels[-1]
