from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.worker.media.clips import make_clip, make_exact_clip
from worker.contract.errors import DatasetError, InsufficientStorageError
from worker.contract.quality import FLAGS, METRICS
from worker.contract.resources import PrepareProgress
from worker.contract.sources import have_changed
from worker.contract.spec.datasets import AvDigits, Folder, Manifest
from worker.contract.spec.preprocess import PreprocessSpec
from worker.datasets.partial import JOURNAL_FILE
from worker.datasets.prepare import PreparationStopped, StoreSummary, prepare
from worker.datasets.store import PreparedStore
from worker.media.decode import decode_clip
from worker.media.preprocess import Preprocessor

DIGITS = AvDigits(num_train=50, num_validation=20, num_test=20)
SMALL = PreprocessSpec(duration_s=0.4, sample_rate_hz=8_000, num_mels=16, num_frames=2, frame_size=24, crop_size=16)


def prepared(spec: AvDigits | Folder | Manifest, folder: Path, num_processes: int = 2) -> StoreSummary:
    folder.mkdir(exist_ok=True)
    return prepare(spec, folder, num_processes=num_processes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder with the undisturbed store of DIGITS."""
    folder = tmp_path_factory.mktemp("whole")
    prepared(DIGITS, folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "store").iterdir())}


def own_clips(root: Path, number: int = 4) -> Path:
    for split in ("train", "val", "test"):
        for name in ("high", "low"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(number if split == "train" else 1):
                make_clip(folder / f"{k}.mp4", seconds=0.5, tone_hz=900.0 if name == "high" else 300.0)
    return root


def stop_after(number: int) -> Callable[[], bool]:
    calls = iter(range(number))
    return lambda: next(calls, None) is None


def test_makes_and_prepares_av_digits(tmp_path: Path) -> None:
    summary = prepared(DIGITS, tmp_path / "a")
    store = PreparedStore.open(tmp_path / "a" / "store", verify=True)
    assert summary.built
    assert summary.record.splits == {"train": 50, "validation": 20, "test": 20}
    assert len(store) == 90
    assert store.classes == tuple("0123456789")
    frames, audio = store.batch(store.indices("test"))
    assert frames.shape == (20, 2, 32, 32, 3)
    assert audio.shape == (20, 32, 32)
    assert {store.notes(index)["corrupted"] for index in range(90)} == {"none", "audio", "visual"}
    video, sound = store.clip_paths(3)
    assert video.is_file()
    assert sound is None


def test_the_store_holds_what_decoding_and_preprocessing_give(whole: Path) -> None:
    store = PreparedStore.open(whole / "store")
    clip = decode_clip(store.clip_paths(7)[0], DIGITS.preprocess)
    frames, audio = store.batch([7])
    assert clip.waveform is not None
    assert np.array_equal(frames[0], clip.frames)
    assert np.array_equal(audio[0], Preprocessor(DIGITS.preprocess).store_audio(clip.waveform))


def test_the_same_seed_gives_the_same_store_elsewhere_with_other_processes(tmp_path: Path, whole: Path) -> None:
    prepared(DIGITS, tmp_path / "a", num_processes=1)
    assert contents(tmp_path / "a") == contents(whole)


def test_stopped_and_resumed_equals_undisturbed_byte_by_byte(tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "often"
    stops = 0
    while True:
        try:
            summary = prepare(DIGITS, folder, num_processes=2, should_stop=stop_after(25))
            break
        except PreparationStopped:
            stops += 1
    assert stops >= 3
    assert summary.num_resumed >= 50
    assert contents(folder) == contents(whole)


@pytest.mark.parametrize("delay_s", [0.3, 1.2])
def test_killed_and_resumed_equals_undisturbed(tmp_path: Path, whole: Path, delay_s: float) -> None:
    folder = tmp_path / "killed"
    code = (
        "import sys; from pathlib import Path\n"
        "from worker.contract.spec.datasets import AvDigits; from worker.datasets.prepare import prepare\n"
        "prepare(AvDigits(num_train=50, num_validation=20, num_test=20), Path(sys.argv[1]), num_processes=2,"
        " on_progress=lambda p: print(p.done, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # listing
        child.stdout.readline()  # first clip
        time.sleep(delay_s)
        child.send_signal(signal.SIGKILL)
    prepared(DIGITS, folder)
    assert contents(folder) == contents(whole)


@pytest.mark.parametrize("place", ["store", "store.partial"])
def test_what_a_kill_left_half_written_is_gone_once_the_store_is_ready(tmp_path: Path, whole: Path, place: str) -> None:
    folder = tmp_path / "killed"
    stop = stop_after(6) if place == "store.partial" else lambda: False
    with contextlib.suppress(PreparationStopped):
        prepare(DIGITS, folder, num_processes=1, should_stop=stop)
    (folder / place / ".sources.json.4478.4478.partial").write_text("[]")
    prepared(DIGITS, folder)
    assert contents(folder) == contents(whole)


def test_finished_clips_are_not_decoded_again(tmp_path: Path) -> None:
    clips = own_clips(tmp_path / "clips")
    spec = Folder(path=str(clips), preprocess=SMALL)
    with pytest.raises(PreparationStopped):
        prepare(spec, tmp_path / "a", num_processes=1, should_stop=stop_after(6))
    done = len((tmp_path / "a" / "store.partial" / JOURNAL_FILE).read_text().splitlines())
    assert done >= 1
    summary = prepared(spec, tmp_path / "a")
    assert summary.num_resumed == done
    assert summary.record.num_samples == 12


def test_a_torn_journal_line_costs_that_clip_alone(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(PreparationStopped):
        prepare(DIGITS, tmp_path / "a", num_processes=1, should_stop=stop_after(30))
    journal = tmp_path / "a" / "store.partial" / JOURNAL_FILE
    content = journal.read_bytes()
    journal.write_bytes(content[:-10])
    assert prepared(DIGITS, tmp_path / "a").num_resumed == content.count(b"\n") - 1
    assert contents(tmp_path / "a") == contents(whole)


def test_a_ready_store_is_found_at_once_and_another_spec_rebuilds_it(tmp_path: Path) -> None:
    first = prepared(DIGITS, tmp_path)
    again = prepared(DIGITS, tmp_path)
    assert first.built
    assert not again.built
    assert prepared(DIGITS.model_copy(update={"protocol": "paper"}), tmp_path).built is False
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "clips").rglob("*.mp4")}
    other = DIGITS.model_copy(update={"preprocess": DIGITS.preprocess.model_copy(update={"num_mels": 24})})
    rebuilt = prepared(other, tmp_path)
    assert rebuilt.built
    assert rebuilt.record.digest != first.record.digest
    assert PreparedStore.open(tmp_path / "store").batch([0])[1].shape == (1, 24, 32)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "clips").rglob("*.mp4")} == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "store"]


def test_a_damaged_store_is_made_anew(tmp_path: Path, whole: Path) -> None:
    prepared(DIGITS, tmp_path)
    (tmp_path / "store" / "audio.f16").write_bytes(b"")
    assert prepared(DIGITS, tmp_path).built
    assert contents(tmp_path) == contents(whole)


def test_a_partial_store_of_changed_files_is_begun_anew(tmp_path: Path) -> None:
    clips = own_clips(tmp_path / "clips")
    spec = Folder(path=str(clips), preprocess=SMALL)
    with pytest.raises(PreparationStopped):
        prepare(spec, tmp_path / "a", num_processes=1, should_stop=stop_after(6))
    make_clip(clips / "train" / "high" / "0.mp4", seconds=0.7)
    assert prepared(spec, tmp_path / "a").num_resumed == 0


def test_bad_clips_are_skipped_with_their_reason(tmp_path: Path) -> None:
    clips = own_clips(tmp_path / "clips")
    train = clips / "train" / "high"
    (train / "text.mp4").write_text("not a clip")
    (train / "empty.mp4").touch()
    make_clip(train / "silent.mp4", audio=None)
    make_clip(train / "blind.mp4", video=None)
    (train / "notes.txt").write_text("hello")
    summary = prepared(Folder(path=str(clips), preprocess=SMALL), tmp_path / "a")
    store = PreparedStore.open(tmp_path / "a" / "store", verify=True)
    assert {Path(clip.path).name: clip.code for clip in store.skipped()} == {
        "text.mp4": "media-not-decodable",
        "empty.mp4": "media-empty",
        "silent.mp4": "media-no-audio",
        "blind.mp4": "media-no-visual",
        "notes.txt": "not-a-clip",
    }
    assert summary.record.num_skipped == 5
    assert len(store) == 12
    assert len(store.sample_ids) == len(store.labels) == len(store.groups) == len(store.splits()) == 12
    for index in range(12):
        clip = decode_clip(store.clip_paths(index)[0], SMALL)
        assert np.array_equal(store.batch([index])[0][0], clip.frames)


def test_a_class_that_vanishes_is_an_error_that_names_a_reason(tmp_path: Path) -> None:
    clips = own_clips(tmp_path / "clips", number=1)
    (clips / "train" / "low" / "0.mp4").write_text("broken")
    with pytest.raises(DatasetError, match=r"none for 'low'.*1 clips were skipped.*0\.mp4") as caught:
        prepared(Folder(path=str(clips), preprocess=SMALL), tmp_path / "a")
    assert caught.value.code == "dataset-class-not-in-train"


def test_remarks_and_parts_reach_the_table(tmp_path: Path) -> None:
    for k in range(4):
        make_clip(tmp_path / f"{k}.mp4", seconds=3.0, container_options={"movflags": "faststart"}, options={"crf": "1"})
    cut = tmp_path / "0.mp4"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    rows = "0.mp4,a,train,,\n1.mp4,b,train,2.0,2.5\n2.mp4,a,val,,\n3.mp4,b,val,,\n"
    (tmp_path / "list.csv").write_text("path,label,split,start_s,end_s\n" + rows)
    prepared(Manifest(path=str(tmp_path / "list.csv"), preprocess=SMALL), tmp_path / "a")
    store = PreparedStore.open(tmp_path / "a" / "store")
    assert "ends early" in store.notes(0)["decoding"]
    starts = store.column("start_s").to_pylist()
    assert starts[1] == pytest.approx(2.05, abs=0.03)
    assert store.record.warnings == ("There is no test split: runs have no test report.",)
    assert store.column("duration_s").to_pylist()[3] == pytest.approx(3.0, abs=0.15)


def test_the_quality_of_each_clip_reaches_the_table_after_a_resume_too(tmp_path: Path) -> None:
    root = own_clips(tmp_path / "clips")
    grey, tone = np.full((10, 32, 32, 3), 128, np.uint8), 0.5 * np.sin(np.arange(8_000) * 0.3)
    make_exact_clip(root / "train" / "high" / "silent.mkv", grey, np.zeros(8_000))
    make_exact_clip(root / "train" / "high" / "leak.mkv", grey, tone)
    make_exact_clip(root / "test" / "high" / "leaked.mkv", grey, tone)
    spec, folder = Folder(path=str(root), preprocess=SMALL), tmp_path / "data"
    folder.mkdir()
    with pytest.raises(PreparationStopped):
        prepare(spec, folder, num_processes=1, should_stop=stop_after(6))
    prepared(spec, folder)
    store = PreparedStore.open(folder / "store")
    place = {Path(path).stem: index for index, path in enumerate(store.column("path").to_pylist())}
    silence, hashes = store.column("silence_share").to_pylist(), store.column("content_hash").to_pylist()
    assert silence[place["silent"]] == 1.0
    assert silence[place["leak"]] == 0.0
    assert hashes[place["leak"]] == hashes[place["leaked"]] != hashes[place["silent"]]
    assert set(store.column("frozen_share").to_pylist()) == {0.0, 1.0}
    for metric in METRICS:
        assert store.column(metric.name).null_count == 0


def test_built_in_clips_have_no_faults_but_the_planted_ones(whole: Path) -> None:
    store = PreparedStore.open(whole / "store")
    for flag in FLAGS:
        assert max(store.column(flag.metric).to_pylist()) < flag.at_least, flag.name
    assert len(set(store.column("content_hash").to_pylist())) == len(store)


def test_progress_rises_to_the_end_and_is_not_told_too_often(tmp_path: Path) -> None:
    told: list[tuple[float, PrepareProgress]] = []
    begun = time.monotonic()
    prepare(DIGITS, tmp_path, num_processes=2, on_progress=lambda p: told.append((time.monotonic(), p)))
    seconds = time.monotonic() - begun
    assert told[0][1].total == 0
    assert [p.done for _, p in told] == sorted(p.done for _, p in told)
    assert told[-1][1].fraction == 1.0
    assert told[-1][1].done == told[-1][1].total == 90
    assert len(told) <= 3 + 5 * seconds


def test_waveform_storage(tmp_path: Path) -> None:
    spec = DIGITS.model_copy(update={"preprocess": DIGITS.preprocess.model_copy(update={"audio_storage": "waveform"})})
    prepared(spec, tmp_path)
    store = PreparedStore.open(tmp_path / "store", verify=True)
    assert store.batch([0, 1])[1].dtype == np.int16
    assert (tmp_path / "store" / "audio.i16").stat().st_size == 90 * 4_000 * 2


def test_a_symbolic_link_to_a_clip_is_read_and_a_broken_one_skipped(tmp_path: Path) -> None:
    clips = own_clips(tmp_path / "clips")
    train = clips / "train" / "high"
    elsewhere = make_clip(tmp_path / "elsewhere.mp4", seconds=0.5)
    (train / "link.mp4").symlink_to(elsewhere)
    (train / "broken.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(train / "pipe.mp4")
    summary = prepared(Folder(path=str(clips), preprocess=SMALL), tmp_path / "a")
    assert summary.record.num_samples == 13
    assert {Path(clip.path).name for clip in summary.record.skipped} == {"broken.mp4", "pipe.mp4"}


def test_two_datasets_of_the_same_clips_and_preprocessing_share_one_store(tmp_path: Path) -> None:
    spec = Folder(path=str(own_clips(tmp_path / "clips")), preprocess=SMALL)
    home = tmp_path / "datasets"
    home.mkdir()
    first = prepared(spec, home / "first")
    second = prepared(spec, home / "second")
    assert (first.built, second.built) == (True, False)
    one, other = (folder / "store" / "frames.u8" for folder in (home / "first", home / "second"))
    assert one.stat().st_ino == other.stat().st_ino
    shutil.rmtree(home / "first")
    assert len(PreparedStore.open(home / "second" / "store", verify=True)) == 12
    coarser = spec.model_copy(update={"preprocess": SMALL.model_copy(update={"num_mels": 8})})
    assert prepared(coarser, home / "third").built


def test_a_ready_dataset_notices_that_its_clips_changed(tmp_path: Path) -> None:
    root = own_clips(tmp_path / "clips")
    spec = Folder(path=str(root), preprocess=SMALL)
    first = prepared(spec, tmp_path / "dataset")
    sources = tmp_path / "dataset" / "store" / "sources.json"
    assert have_changed(sources) is False
    assert not prepared(spec, tmp_path / "dataset").built
    make_clip(root / "train" / "high" / "more.mp4", seconds=0.5, tone_hz=900.0)
    assert have_changed(sources) is True
    again = prepared(spec, tmp_path / "dataset")
    assert again.built
    assert again.record.num_samples == first.record.num_samples + 1
    assert again.record.listing_digest != first.record.listing_digest
    assert have_changed(sources) is False


def test_a_folder_that_only_looks_changed_is_not_prepared_again(tmp_path: Path) -> None:
    root = own_clips(tmp_path / "clips")
    spec = Folder(path=str(root), preprocess=SMALL)
    prepared(spec, tmp_path / "dataset")
    (root / "train" / "high" / ".hidden").write_bytes(b"")
    assert have_changed(tmp_path / "dataset" / "store" / "sources.json") is True
    assert not prepared(spec, tmp_path / "dataset").built
    assert have_changed(tmp_path / "dataset" / "store" / "sources.json") is False


def test_a_store_that_would_not_fit_is_refused_before_the_first_clip(tmp_path: Path) -> None:
    spec = Folder(path=str(own_clips(tmp_path / "clips")), preprocess=SMALL)
    (tmp_path / "dataset").mkdir()
    with pytest.raises(InsufficientStorageError, match="12 clips") as caught:
        prepare(spec, tmp_path / "dataset", num_processes=1, reserved_bytes=shutil.disk_usage(tmp_path).total)
    assert caught.value.code == "disk-too-small"
    assert not (tmp_path / "dataset" / "store").exists()
