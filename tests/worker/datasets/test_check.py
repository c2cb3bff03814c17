from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.scoring import write_clip
from worker.contract.resources import DatasetCheck
from worker.datasets.check import check


def test_a_folder_of_clips_is_counted_with_what_is_left_out(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", seconds=0.4)
    for place in ("train/dog/1.mp4", "train/dog/2.mp4", "train/cat/1.mp4", "validation/cat/2.mp4", "test/dog/3.mp4"):
        path = tmp_path / "clips" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(clip)
    (tmp_path / "clips/train/dog/notes.txt").write_text("x")
    (tmp_path / "clips/train/cat/alone.wav").write_bytes(b"x")
    found = check({"kind": "folder", "path": str(tmp_path / "clips")})
    assert (found.num_clips, found.num_classes, found.problem) == (5, 2, None)
    assert found.splits == {"train": 3, "validation": 1, "test": 1}
    assert found.largest_classes == {"dog": 3, "cat": 2}
    assert found.left_out_by_code == {"not-a-clip": 1, "media-no-visual": 1}
    assert {Path(one.path).name for one in found.left_out} == {"notes.txt", "alone.wav"}


def test_an_incomplete_corpus_says_what_is_expected_where_as_a_process(tmp_path: Path) -> None:
    (tmp_path / "AudioWAV").mkdir()
    spec = json.dumps({"spec": {"kind": "crema-d", "path": str(tmp_path)}, "data_roots": []})
    done = subprocess.run(
        [sys.executable, "-m", "worker.datasets.check"], input=spec.encode(), capture_output=True, check=True
    )
    found = DatasetCheck.model_validate_json(done.stdout)
    assert found.problem is not None
    assert found.problem.code == "dataset-layout-incomplete"
    assert str(tmp_path / "VideoFlash") in found.problem.detail
    assert str(tmp_path / "AudioWAV") not in found.problem.detail


def test_files_that_are_no_clips_are_found_before_preparation(tmp_path: Path) -> None:
    for place in ("train/dog/1.mp4", "train/cat/2.mp4"):
        path = tmp_path / place
        path.parent.mkdir(parents=True)
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    found = check({"kind": "folder", "path": str(tmp_path)})
    assert found.problem is not None
    assert (found.num_clips, found.problem.code) == (2, "dataset-undecodable")
