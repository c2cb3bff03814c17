from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.worker.datasets.corpus_trees import AVE_CATEGORIES, ave, ave_line
from worker.contract.errors import DatasetError
from worker.contract.spec.corpora import Ave
from worker.contract.spec.preprocess import PreprocessSpec
from worker.datasets.ave import AveDataset
from worker.datasets.prepare import prepare
from worker.datasets.source import DatasetListing
from worker.datasets.store import PreparedStore

SMALL = PreprocessSpec(duration_s=1.0, sample_rate_hz=8_000, num_mels=16, num_frames=2, frame_size=24, crop_size=16)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ave(tmp_path_factory.mktemp("ave"))


@pytest.fixture
def tree(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "tree"))


def listing(root: Path, **fields: Any) -> DatasetListing:
    return AveDataset(Ave(path=str(root), **fields)).list(root / "unused")


def refused(root: Path, **fields: Any) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        listing(root, **fields)
    return caught.value


def append(path: Path, *lines: str) -> None:
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_prepares_the_official_sets_with_the_seconds_of_the_events(whole: Path, tmp_path: Path, protocol: str) -> None:
    summary = prepare(Ave(path=str(whole), protocol=protocol, preprocess=SMALL), tmp_path, num_processes=1)
    store = PreparedStore.open(tmp_path / "store", verify=True)
    assert store.classes == tuple(sorted(AVE_CATEGORIES))
    assert summary.record.splits == {"train": 12, "validation": 3, "test": 6}
    assert summary.record.warnings == ()
    index = store.sample_ids.index("tr-0_1vidid@1-3")
    assert store.notes(index) == {"quality": "Bad", "event_start_s": "1", "event_end_s": "3"}
    assert store.groups[index] == "tr-0_1vidid"
    assert store.column("start_s").to_pylist()[index] == pytest.approx(1.5, abs=0.05)


def test_the_folder_itself_may_be_given_and_the_whole_clip_be_asked_for(whole: Path) -> None:
    found = listing(whole / "AVE_Dataset", part="clip")
    assert {(entry.start_s, entry.end_s) for entry in found.entries} == {(None, None)}
    assert {(entry.start_s, entry.end_s) for entry in listing(whole).entries} == {(0.0, 2.0), (1.0, 3.0)}


def test_a_video_in_two_sets_stays_in_test_alone_under_honest(tree: Path) -> None:
    other = ave_line(AVE_CATEGORIES[0], "te-0_0vidid", start=1, end=3)
    append(tree / "AVE_Dataset" / "trainSet.txt", other)
    append(tree / "AVE_Dataset" / "Annotations.txt", other)
    honest, paper = listing(tree), listing(tree, protocol="paper")
    assert [(clip.sample_id, clip.code) for clip in honest.skipped] == [("te-0_0vidid@1-3", "group-in-two-splits")]
    assert Counter(entry.split for entry in honest.entries) == {"train": 12, "validation": 3, "test": 6}
    assert Counter(entry.split for entry in paper.entries) == {"train": 13, "validation": 3, "test": 6}
    assert any("1 of 6 videos of the test split are also in train" in warning for warning in paper.warnings)


def test_the_same_seconds_with_two_categories_are_two_clips(tree: Path) -> None:
    append(tree / "AVE_Dataset" / "trainSet.txt", ave_line(AVE_CATEGORIES[1], "tr-0_0vidid"))
    ids = {entry.sample_id: entry.label for entry in listing(tree).entries if entry.group == "tr-0_0vidid"}
    assert ids == {f"tr-0_0vidid@0-2 {category}": category for category in AVE_CATEGORIES[:2]}
    assert any("1 events of the sets are not in Annotations.txt" in one for one in listing(tree).warnings)


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("Church bell&te-0_0vidid&good&0", "dataset-bad-list", "line 13 has 4"),
        ("Church bell&te-0_0vidid&good&0&2&x", "dataset-bad-list", "line 13 has 6"),
        ("Church bell&te-0_0vidid&good&5&2", "dataset-bad-list", "line 13 has 5 to 2"),
        ("Church bell&te-0_0vidid&good&a&2", "dataset-bad-list", "line 13 has a to 2"),
        ("Category&VideoID&Quality&StartTime&EndTime", "dataset-bad-list", "StartTime to EndTime"),
        ("Church bel&te-0_0vidid&good&0&2", "dataset-unknown-label", "line 13 has 'Church bel'"),
    ],
)
def test_a_set_that_does_not_fit_is_refused_by_line(tree: Path, line: str, code: str, text: str) -> None:
    append(tree / "AVE_Dataset" / "trainSet.txt", line)
    error = refused(tree)
    assert error.code == code
    assert text in error.detail


def test_missing_files_are_named(tree: Path) -> None:
    home = tree / "AVE_Dataset"
    (home / "AVE" / "te-0_0vidid.mp4").unlink()
    found = listing(tree)
    assert [(clip.sample_id, clip.code) for clip in found.skipped] == [("te-0_0vidid@0-2", "media-not-found")]
    (home / "valSet.txt").unlink()
    (home / "Annotations.txt").unlink()
    error = refused(tree)
    assert error.code == "dataset-layout-incomplete"
    assert "valSet.txt" in error.detail
    assert "Annotations.txt" in error.detail


def test_a_category_without_training_events_is_refused(tree: Path) -> None:
    path = tree / "AVE_Dataset" / "trainSet.txt"
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines() if "Frying" not in line))
    error = refused(tree)
    assert error.code == "dataset-class-not-in-train"
    assert "'Frying (food)'" in error.detail
