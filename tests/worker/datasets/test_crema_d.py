from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.worker.datasets.corpus_trees import (
    EMOTIONS,
    SPEAKERS,
    crema_d,
    crema_d_clips,
    crema_d_frames,
    place,
    write_lines,
)
from worker.contract.errors import DatasetError
from worker.contract.spec.corpora import CremaD
from worker.contract.spec.preprocess import PreprocessSpec
from worker.datasets.crema_d import CremaDDataset
from worker.datasets.prepare import prepare
from worker.datasets.source import DatasetListing
from worker.datasets.store import PreparedStore
from worker.media.decode import decode_clip
from worker.media.preprocess import Preprocessor

SMALL = PreprocessSpec(duration_s=0.8, sample_rate_hz=8_000, num_mels=16, num_frames=2, frame_size=24, crop_size=16)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return crema_d(tmp_path_factory.mktemp("crema-d"))


@pytest.fixture(scope="module")
def frames_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return crema_d_frames(tmp_path_factory.mktemp("crema-d-frames"))


@pytest.fixture
def tree(whole: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(whole, tmp_path / "tree"))


def spec(root: Path, **fields: Any) -> CremaD:
    return CremaD(path=str(root), preprocess=SMALL, **fields)


def listing(root: Path, **fields: Any) -> DatasetListing:
    return CremaDDataset(spec(root, **fields)).list(root / "unused")


def loudest_band(path: Path) -> int:
    sound = decode_clip(path, SMALL).waveform
    assert sound is not None
    return int(Preprocessor(SMALL).store_audio(sound).astype(np.float32).mean(axis=1).argmax())


def refused(root: Path, **fields: Any) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        listing(root, **fields)
    return caught.value


def test_honest_keeps_speakers_apart_with_all_three_splits_without_lists(tree: Path) -> None:
    for name in ("train.csv", "test.csv"):
        (tree / name).unlink()
    found = listing(tree)
    places = defaultdict(set)
    for entry in found.entries:
        places[entry.group].add(entry.split)
    assert set(places) == set(SPEAKERS)
    assert all(len(splits) == 1 for splits in places.values())
    assert {entry.split for entry in found.entries} == {"train", "validation", "test"}
    assert len(found.entries) == 60


def test_honest_splits_follow_the_seed_alone(whole: Path) -> None:
    first = listing(whole, seed=0)
    assert first == listing(whole, seed=0)
    assert [entry.split for entry in first.entries] != [entry.split for entry in listing(whole, seed=1).entries]


def test_a_missing_file_changes_no_split_of_the_others(tree: Path) -> None:
    before = {entry.sample_id: entry.split for entry in listing(tree).entries}
    for name in crema_d_clips()[::7]:
        (tree / "AudioWAV" / f"{name}.wav").unlink()
        del before[name]
    assert {entry.sample_id: entry.split for entry in listing(tree).entries} == before


def test_paper_takes_the_lists_and_cuts_validation_from_train_by_clip(whole: Path) -> None:
    found = listing(whole, protocol="paper", validation_share=0.2)
    by_split = defaultdict(list)
    for entry in found.entries:
        by_split[entry.split].append(entry)
    assert sorted(entry.sample_id for entry in by_split["test"]) == sorted(crema_d_clips(("IEO",)))
    assert len(by_split["validation"]) == 6
    assert {entry.label for entry in by_split["validation"]} == set(EMOTIONS)
    assert len({entry.group for entry in by_split["validation"]}) > 1
    assert any("5 of 5 speakers of the test split are also in train" in warning for warning in found.warnings)
    assert any("no validation split: 20%" in warning for warning in found.warnings)


def test_paper_reads_a_validation_list(tree: Path) -> None:
    names = crema_d_clips(("DFA",))
    write_lines(tree / "train.csv", [f"{name},{name.split('_')[2]}" for name in names[6:]])
    write_lines(tree / "val.csv", [f"{name},{name.split('_')[2]}" for name in names[:6]])
    found = listing(tree, protocol="paper", validation_list="val.csv")
    assert [entry.sample_id for entry in found.entries if entry.split == "validation"] == names[:6]
    assert not any("no validation split" in warning for warning in found.warnings)


@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_prepares_into_a_store_with_the_papers_class_order_and_notes(
    whole: Path, tmp_path: Path, protocol: str
) -> None:
    summary = prepare(spec(whole, protocol=protocol), tmp_path, num_processes=1)
    assert not prepare(spec(whole, protocol=protocol), tmp_path, num_processes=1).built
    other = spec(whole, protocol="paper" if protocol == "honest" else "honest")
    assert other.identity() != summary.record.spec_digest
    store = PreparedStore.open(tmp_path / "store", verify=True)
    assert store.classes == EMOTIONS
    assert summary.record.num_samples == 60
    assert summary.record.num_skipped == 0
    assert store.notes(0) == {"speaker": "1001", "sentence": "DFA", "level": "XX"}
    assert set(store.groups) == set(SPEAKERS)
    video, audio = store.clip_paths(0)
    assert audio is not None
    bands = [loudest_band(place) for place in (audio, video)]
    assert bands[0] != bands[1]
    assert store.batch([0])[1][0].astype(np.float32).mean(axis=1).argmax() == bands[0]
    assert (video.suffix, audio.suffix) == (".flv", ".wav")
    rate = store.column("sample_rate_hz").to_pylist()
    assert set(rate) == {16_000}


def test_each_protocol_is_a_dataset_of_its_own(whole: Path) -> None:
    assert spec(whole).dataset_id() != spec(whole, protocol="paper").dataset_id()


def test_what_the_layout_lacks_is_named_with_its_place(tree: Path) -> None:
    (tree / "VideoFlash").rename(tree / "Video")
    (tree / "test.csv").unlink()
    error = refused(tree, protocol="paper")
    assert error.code == "dataset-layout-incomplete"
    for text in (str(tree / "VideoFlash"), "folder of <clip>.flv", str(tree / "test.csv"), "There is AudioWAV, Video"):
        assert text in error.detail
    assert refused(tree / "nowhere").code == "dataset-not-found"


def test_clips_without_their_files_are_counted_named_and_left_out(tree: Path) -> None:
    names = crema_d_clips(("DFA",))
    (tree / "AudioWAV" / f"{names[3]}.wav").unlink()
    (tree / "VideoFlash" / f"{names[4]}.flv").unlink()
    for protocol in ("paper", "honest"):
        found = listing(tree, protocol=protocol)
        assert {clip.sample_id: clip.code for clip in found.skipped} == dict.fromkeys(names[3:5], "media-not-found")
        assert any("1 of 60 clips lack their sound file" in warning for warning in found.warnings)
        assert any(str(tree / "VideoFlash" / names[4]) in warning for warning in found.warnings)


def test_one_modality_missing_everywhere_is_refused(tree: Path) -> None:
    for path in (tree / "AudioWAV").iterdir():
        path.unlink()
    error = refused(tree, protocol="paper")
    assert error.code == "dataset-no-audio"
    assert "all 60 clips" in error.detail


def test_clips_without_a_picture_track_are_refused_before_preparation(tree: Path) -> None:
    for path in (tree / "VideoFlash").iterdir():
        place(path, video=None, audio="aac")
    assert refused(tree).code == "dataset-no-visual"


def test_git_lfs_pointers_are_refused_before_preparation(tree: Path) -> None:
    for path in (tree / "VideoFlash").iterdir():
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    error = refused(tree)
    assert error.code == "dataset-undecodable"
    assert "Git LFS" in error.detail


def test_a_broken_clip_costs_itself_alone(tree: Path, tmp_path: Path) -> None:
    name = crema_d_clips(("DFA",))[7]
    (tree / "VideoFlash" / f"{name}.flv").write_bytes(b"broken")
    summary = prepare(spec(tree), tmp_path / "dataset", num_processes=1)
    assert [(clip.sample_id, clip.code) for clip in summary.record.skipped] == [(name, "media-not-decodable")]


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("1001_DFA_ANG_XX,ANG,5", "dataset-bad-list", "line 31 has 3 (1001_DFA_ANG_XX,ANG,5)"),
        ("1001_DFA_ANG_XX", "dataset-bad-list", "line 31 has 1"),
        ("1001_DFA_ANG_XX,", "dataset-bad-list", "line 31 has an empty field"),
        ("1001_DFA_ANG_XX,BOR", "dataset-unknown-label", "line 31 has 'BOR'"),
        ("clip,ANG", "dataset-bad-list", "line 31 has 'clip'"),
        ("1001_DFA_ANG_XX,SAD", "dataset-label-conflict", "1001_DFA_ANG_XX is 'ANG' in train.csv, line 6"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_by_line(tree: Path, line: str, code: str, text: str) -> None:
    with (tree / "train.csv").open("a") as file:
        file.write(f"{line}\n")
    error = refused(tree, protocol="paper")
    assert error.code == code
    assert text in error.detail


def test_repeated_lines_count_once_and_a_clip_in_two_lists_stays_in_test(tree: Path) -> None:
    with (tree / "train.csv").open("a") as file:
        file.write("1001_DFA_ANG_XX,ANG\n1002_IEO_SAD_XX,SAD\n")
    found = listing(tree, protocol="paper")
    assert len(found.entries) == 60
    assert [(clip.sample_id, clip.code) for clip in found.skipped] == [("1002_IEO_SAD_XX", "clip-in-two-splits")]
    assert Counter(entry.split for entry in found.entries)["test"] == 30
    assert any("1 lines repeat another one" in warning and "line 31" in warning for warning in found.warnings)


def test_a_class_without_training_clips_is_refused(tree: Path) -> None:
    lines = [line for line in (tree / "train.csv").read_text().splitlines() if not line.endswith("DIS")]
    write_lines(tree / "train.csv", lines)
    error = refused(tree, protocol="paper")
    assert error.code == "dataset-class-not-in-train"
    assert "'DIS'" in error.detail


def test_a_label_that_differs_from_the_name_is_kept_and_noted(tree: Path) -> None:
    lines = (tree / "train.csv").read_text().replace("1003_DFA_ANG_XX,ANG", "1003_DFA_ANG_XX,HAP")
    (tree / "train.csv").write_text(lines)
    found = listing(tree, protocol="paper")
    entry = next(entry for entry in found.entries if entry.sample_id == "1003_DFA_ANG_XX")
    assert (entry.label, entry.notes["emotion_in_name"]) == ("HAP", "ANG")
    assert any("1 clips have another label" in warning for warning in found.warnings)


def test_files_in_no_list_and_strange_names_are_told(tree: Path) -> None:
    place(tree / "VideoFlash" / "1009_DFA_ANG_XX.flv", video="flv", audio=None)
    place(tree / "VideoFlash" / "holiday.flv", video="flv", audio=None)
    assert any("2 clips in VideoFlash stand in no list" in one for one in listing(tree, protocol="paper").warnings)
    assert ("holiday", "not-a-clip") in {(clip.sample_id, clip.code) for clip in listing(tree).skipped}


@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_frames_as_pictures_are_prepared_in_the_order_of_their_names(
    frames_tree: Path, tmp_path: Path, protocol: str
) -> None:
    summary = prepare(spec(frames_tree, layout="frames", protocol=protocol), tmp_path / "dataset", num_processes=1)
    assert (summary.record.num_samples, summary.record.num_skipped) == (60, 0)
    frames, _ = PreparedStore.open(tmp_path / "dataset" / "store").batch([0])
    assert [round(float(frame.mean()), -1) for frame in frames[0]] == [40, 200]


def test_a_clip_without_frames_is_left_out(frames_tree: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(frames_tree, tmp_path / "tree"))
    name = crema_d_clips()[2]
    shutil.rmtree(root / "Image-01-FPS" / name)
    (root / "Image-01-FPS" / name).mkdir()
    found = listing(root, layout="frames")
    assert [(clip.sample_id, clip.code) for clip in found.skipped] == [(name, "media-not-found")]
    assert "Image-01-FPS" in refused(root, layout="frames", visual_folder="Image-02-FPS").detail
