from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.worker.datasets.corpus_trees import VGG_LABELS, place, vgg_line, vggsound
from worker.contract.errors import DatasetError
from worker.contract.spec.corpora import VggSound
from worker.contract.spec.preprocess import PreprocessSpec
from worker.datasets.prepare import prepare
from worker.datasets.source import DatasetListing
from worker.datasets.store import PreparedStore
from worker.datasets.vggsound import VggSoundDataset

SMALL = PreprocessSpec(duration_s=0.8, sample_rate_hz=8_000, num_mels=16, num_frames=2, frame_size=24, crop_size=16)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vggsound(tmp_path_factory.mktemp("vggsound"))


@pytest.fixture
def tree(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "tree"))


def listing(root: Path, **fields: Any) -> DatasetListing:
    return VggSoundDataset(VggSound(path=str(root), **fields)).list(root / "unused")


def append(root: Path, *lines: str) -> None:
    path = root / "vggsound.csv"
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_prepares_labels_with_commas_and_cuts_a_validation_split(whole: Path, tmp_path: Path, protocol: str) -> None:
    spec = VggSound(path=str(whole), protocol=protocol, validation_share=0.25, preprocess=SMALL)
    summary = prepare(spec, tmp_path, num_processes=1)
    store = PreparedStore.open(tmp_path / "store", verify=True)
    assert store.classes == tuple(sorted(VGG_LABELS))
    assert summary.record.splits == {"train": 9, "validation": 3, "test": 6}
    assert summary.record.class_counts["validation"] == dict.fromkeys(VGG_LABELS, 1)
    index = store.sample_ids.index("-train_21xy_000030")
    assert store.classes[store.labels[index]] == "people eating noodle, slurping"
    assert store.notes(index) == {"video_start_s": "30"}
    assert any("no validation split: 25%" in warning for warning in summary.record.warnings)


def test_clips_of_one_video_never_stand_in_two_splits_under_honest(tree: Path) -> None:
    place(tree / "-test_00xyz_000120.mp4")
    append(tree, vgg_line("-test_00xyz", 120, VGG_LABELS[0], "train"))
    found = listing(tree)
    assert [(clip.sample_id, clip.code) for clip in found.skipped] == [("-test_00xyz_000120", "group-in-two-splits")]
    paper = listing(tree, protocol="paper")
    assert len(paper.entries) == 19
    assert any("1 of 6 videos of the test split" in warning for warning in paper.warnings)


def test_missing_clips_are_left_out_and_counted(tree: Path) -> None:
    (tree / "-test_00xyz_000000.mp4").unlink()
    found = listing(tree)
    assert Counter(clip.code for clip in found.skipped) == {"media-not-found": 1}
    assert any("1 of 18 clips lack" in warning and "-test_00xyz_000000.mp4" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("-test_00xyz,0,people eating noodle, slurping,test", "dataset-bad-list", "line 19 has 5"),
        ("-test_00xyz,zero,dog barking,test", "dataset-bad-list", "line 19 has 'zero'"),
        ("-test_00xyz,0,dog barking,tset", "dataset-bad-list", "line 19 has 'tset'"),
        ("-test_00xyz,0,dog barking,test", "dataset-label-conflict", "vggsound.csv, line 19"),
        ("newvideo123,0,cat meowing,test", "dataset-class-not-in-train", "'cat meowing'"),
        ('-test_00xyz,0,"dog barking,test', "dataset-bad-list", "line 19"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_by_line(tree: Path, line: str, code: str, text: str) -> None:
    append(tree, line)
    with pytest.raises(DatasetError) as caught:
        listing(tree)
    assert caught.value.code == code
    assert text in caught.value.detail


def test_videos_without_sound_are_refused_before_preparation(tree: Path) -> None:
    for path in tree.glob("*.mp4"):
        place(path, audio=None)
    with pytest.raises(DatasetError, match="has a sound") as caught:
        listing(tree)
    assert caught.value.code == "dataset-no-audio"


def test_clips_may_lie_in_a_folder_of_their_own_and_strange_ones_are_told(tree: Path) -> None:
    (tree / "video").mkdir()
    for path in tree.glob("*.mp4"):
        path.rename(tree / "video" / path.name)
    place(tree / "video" / "stranger123_000001.mp4")
    found = listing(tree, clips_folder="video")
    assert len(found.entries) == 18
    assert any("1 clips in video stand in no list" in warning for warning in found.warnings)
