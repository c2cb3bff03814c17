"""Backups: taken while things change, whole or refused, and restored as they were."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from pathlib import Path

import pytest

from backend.stack.backup import MANIFEST, backup, restore
from backend.stack.errors import StackError
from tests.backend.folders import write_dataset, write_run
from worker.contract.journal import read_events
from worker.contract.layout import Home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = Home(tmp_path / "home")
    home.create()
    write_dataset(home)
    run_id = write_run(home)
    home.run(run_id).path.rename(home.run("run-1").path)
    (home.path / "logs").mkdir()
    (home.path / "logs" / "audit.jsonl").write_text("{}\n")
    run = home.run("run-1")
    run.lock.write_text("{}")
    (run.path / ".outcome.json.1.partial").write_text("torn")
    return home.path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_restored_home_is_what_was_backed_up(home: Path, tmp_path: Path) -> None:
    made = backup(home, tmp_path / "copy.tar")
    restored = restore(tmp_path / "copy.tar", tmp_path / "again")
    before, after = tree(home), tree(tmp_path / "again")
    left_behind = set(before) - set(after)
    assert {name.rpartition("/")[2] for name in left_behind} == {"audit.jsonl", "lock", ".outcome.json.1.partial"}
    assert all(before[name] == data for name, data in after.items())
    assert (made.num_files, made.jobs) == (restored.num_files, restored.jobs)
    assert made.jobs["runs"] == 1


def test_nobody_else_reads_a_home_or_its_backup(tmp_path: Path) -> None:
    home, copy, again = tmp_path / "home", tmp_path / "copy.tar", tmp_path / "again"
    mask = os.umask(0o022)
    try:
        Home(home).create()
        backup(home, copy)
        restore(copy, again)
    finally:
        os.umask(mask)
    assert [path.stat().st_mode & 0o777 for path in (home, copy, again)] == [0o700, 0o600, 0o700]


def test_a_torn_line_is_left_out_and_a_growing_file_is_whole(home: Path, tmp_path: Path) -> None:
    events = Home(home).run("run-1").events
    whole = read_events(events)
    with events.open("ab") as file:
        file.write(b'{"seq": 99, "torn')
    stop = threading.Event()

    def grow() -> None:
        with (home / "runs" / "run-1" / "log.txt").open("ab") as log:
            while not stop.is_set():
                log.write(b"a line\n" * 500)
                log.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        backup(home, tmp_path / "copy.tar")
    finally:
        stop.set()
        writer.join()
    restore(tmp_path / "copy.tar", tmp_path / "again")
    assert read_events(Home(tmp_path / "again").run("run-1").events) == whole


def test_shared_stores_stay_shared(home: Path, tmp_path: Path) -> None:
    [dataset] = (home / "datasets").iterdir()
    twin = home / "datasets" / "twin"
    (twin / "store").mkdir(parents=True)
    for path in (dataset / "store").iterdir():
        os.link(path, twin / "store" / path.name)
    backup(home, tmp_path / "copy.tar")
    restore(tmp_path / "copy.tar", tmp_path / "again")
    for path in (tmp_path / "again" / "datasets" / "twin" / "store").iterdir():
        assert path.stat().st_nlink == 2


def test_without_stores_it_is_small_and_says_so(home: Path, tmp_path: Path) -> None:
    backup(home, tmp_path / "copy.tar", stores=False)
    restore(tmp_path / "copy.tar", tmp_path / "again")
    [dataset] = (tmp_path / "again" / "datasets").iterdir()
    assert not (dataset / "store").exists()
    assert (dataset / "spec.json").exists()


def test_clips_are_kept_whatever_they_are_called_and_a_store_in_the_making_is_not(home: Path, tmp_path: Path) -> None:
    [dataset] = (home / "datasets").iterdir()
    names = ("partial applause/1.mp4", "dog/impartial.mp4", "wedding.partial/1.mp4", "dog/.2.partial")
    for path in [dataset / "clips" / name for name in names] + [dataset / "store.partial" / "frames.u8"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    backup(home, tmp_path / "copy.tar")
    restore(tmp_path / "copy.tar", tmp_path / "again")
    restored = tmp_path / "again" / "datasets" / dataset.name
    assert tree(restored / "clips").keys() == tree(dataset / "clips").keys() >= set(names)
    assert not (restored / "store.partial").exists()


def test_a_run_that_is_launched_meanwhile_is_not_there_without_its_dataset(home: Path, tmp_path: Path) -> None:
    def launch(line: str) -> None:
        if line.startswith("datasets"):
            write_dataset(Home(home), dataset_id="new")
            write_run(Home(home), dataset={"id": "new"})

    made = backup(home, tmp_path / "copy.tar", tell=launch)
    restore(tmp_path / "copy.tar", tmp_path / "again")
    assert (made.jobs["datasets"], made.jobs["runs"]) == (1, 1)
    assert [path.name for path in (tmp_path / "again" / "runs").iterdir()] == ["run-1"]


def test_nothing_is_overwritten_and_no_half_file_is_left(home: Path, tmp_path: Path) -> None:
    backup(home, tmp_path / "copy.tar")
    with pytest.raises(StackError) as caught:
        restore(tmp_path / "copy.tar", home)
    assert caught.value.code == "home-not-empty"
    with pytest.raises(StackError) as missing:
        backup(home, tmp_path / "no folder" / "copy.tar")
    assert missing.value.code == "backup-not-written"
    with pytest.raises(StackError) as none:
        backup(tmp_path, tmp_path / "x.tar")
    assert none.value.code == "no-home"
    assert not list(tmp_path.glob(".*"))


def changed(source: Path, target: Path, name: str, data: bytes | None, link: str = "") -> None:
    """Copies a backup with one file changed, left out or added."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for entry in old:
            if entry.name != name:
                new.addfile(entry, old.extractfile(entry) if entry.isfile() else None)
        if data is not None:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            if link:
                entry.type, entry.linkname, entry.size = tarfile.SYMTYPE, link, 0
            new.addfile(entry, io.BytesIO(data))


@pytest.mark.parametrize(
    ("name", "data", "link"),
    [
        ("runs/run-1/spec.json", b"{}", ""),
        ("runs/run-1/spec.json", None, ""),
        ("runs/run-1/more.json", b"{}", ""),
        ("../outside", b"x", ""),
        ("/tmp/gapscope-outside", b"x", ""),
        ("runs/link", b"", "/etc"),
        (MANIFEST, None, ""),
        (MANIFEST, json.dumps({"format": 2, "home_format": 1, "sha256": {}}).encode(), ""),
    ],
)
def test_a_changed_backup_is_refused_and_nothing_is_made(
    home: Path, tmp_path: Path, name: str, data: bytes | None, link: str
) -> None:
    backup(home, tmp_path / "copy.tar")
    changed(tmp_path / "copy.tar", tmp_path / "bad.tar", name, data, link)
    with pytest.raises(StackError):
        restore(tmp_path / "bad.tar", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    assert not (tmp_path / "outside").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_torn_backup_is_refused(home: Path, tmp_path: Path) -> None:
    backup(home, tmp_path / "copy.tar")
    data = (tmp_path / "copy.tar").read_bytes()
    for size in (0, 100, len(data) // 2, len(data) - 20_000):
        (tmp_path / "torn.tar").write_bytes(data[:size])
        with pytest.raises(StackError):
            restore(tmp_path / "torn.tar", tmp_path / "again")
        assert not (tmp_path / "again").exists()
