"""Folders that cannot be read stop nothing, are named with path, reason and remedy, and come back when mended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from backend import quarantine
from backend.folder_faults import FOREIGN
from backend.quarantine import Quarantine
from tests.backend.conftest import Backend, run_apart, serving, settings_for, wait_for
from tests.backend.folders import START, checkpoint_bytes, write_dataset, write_run
from worker.contract.layout import Home, write_json
from worker.contract.ledger import Ledger
from worker.contract.resources import DamagedFolder


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def emptied(backend: Backend) -> None:
    backend.services.redis.flushdb()
    wait_for(lambda: backend.services.live.generation() is not None, "the ledger is rebuilt")


def set_apart(backend: Backend) -> dict[str, DamagedFolder]:
    items = backend.get("/system")["damaged_folders"]
    return {item["id"]: DamagedFolder.model_validate(item) for item in items}


def no_spec(folder: Path) -> None:
    (folder / "spec.json").unlink()


def a_pipe_for_a_spec(folder: Path) -> None:
    (folder / "spec.json").unlink()
    os.mkfifo(folder / "spec.json")


def a_spec_elsewhere(folder: Path) -> None:
    outside = folder.parents[2] / "outside.json"
    (folder / "spec.json").rename(outside)
    (folder / "spec.json").symlink_to(outside)


def a_link_out(folder: Path) -> None:
    outside = folder.parents[2] / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)


def writes(name: str, text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_text(text)

    return damage


def created_before_time(folder: Path) -> None:
    document = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps({**document, "created_at": "0001-01-01T00:00:00"}))


def a_huge_spec(folder: Path) -> None:
    os.truncate(folder / "spec.json", 2**33)


DEEP = '{"id": ' + "[" * 100_000
EMPTY_SPEC = '{"format": 1, "id": "x", "created_at": "2026-01-01T00:00:00Z", "spec": {}}'
RUN_DAMAGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "torn": (writes("spec.json", "{"), "spec.json", "cannot be read"),
    "deep": (writes("spec.json", DEEP), "spec.json", "cannot be read"),
    "other schema": (writes("spec.json", '{"weather": "fine"}'), "spec.json", "cannot be read"),
    "other spec": (writes("spec.json", EMPTY_SPEC.replace("{}}", '{"epochs": -1}}')), "", "cannot read"),
    "before time": (created_before_time, "", "Error: year 0 is out of range"),
    "no spec": (no_spec, "", "it has no spec.json"),
    "torn outcome": (writes("outcome.json", '{"format": 1, "sta'), "outcome.json", "cannot be read"),
    "torn event": (writes("events.jsonl", "{\n"), "events.jsonl", "event 1 is damaged"),
    "pipe": (a_pipe_for_a_spec, "spec.json", "neither a file nor a folder"),
    "huge": (a_huge_spec, "spec.json", "no record is that large"),
    "link in it": (a_spec_elsewhere, "spec.json", "leads out of the home"),
    "link": (a_link_out, "", "leads out of the home"),
}


def test_no_damage_of_a_run_stops_the_start_or_hides_another_and_each_is_named(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    sound = write_run(backend.home)
    runs = {}
    for name, (damage, _, _) in RUN_DAMAGES.items():
        runs[name] = write_run(backend.home)
        damage(backend.home.run(runs[name]).path)
        path = backend.home.run(runs[name]).path
        if not path.is_symlink():
            os.utime(path, (0, 0))
    with caplog.at_level(logging.WARNING):
        emptied(backend)
        assert [run["id"] for run in backend.get("/runs")["items"]] == [sound]
        found = set_apart(backend)
        for _ in range(3):
            set_apart(backend)
    assert set(found) == set(runs.values())
    for name, (_, file, reason) in RUN_DAMAGES.items():
        folder = found[runs[name]]
        place = backend.home.run(runs[name]).path
        assert (folder.kind, folder.is_shown) == ("run", False), name
        assert reason in folder.reason, name
        assert folder.path.startswith(str(place)), name
        assert folder.path.endswith(file), name
        assert folder.remedy, name
        told = [record for record in caplog.messages if record.startswith(f"set apart: {folder.path}:")]
        assert len(told) == 1, name
    assert backend.get("/system")["num_damaged_folders"] == len(runs)


def test_damaged_datasets_scores_batches_and_subsets_and_foreign_files_are_named(backend: Backend) -> None:
    home = backend.home
    good = write_dataset(home, dataset_id="good")
    (home.dataset(write_dataset(home, dataset_id="bad")).spec).write_text("[]")
    (home.dataset(write_dataset(home, dataset_id="torn-store")).store / "store.json").write_text("{")
    table = home.dataset(write_dataset(home, dataset_id="torn-table")).store / "samples.parquet"
    table.write_bytes(table.read_bytes()[:100])
    for folder, name in ((home.scores, "request.json"), (home.batches, "spec.json"), (home.subsets, "subset.json")):
        (folder / "broken").mkdir()
        (folder / "broken" / name).write_text("nothing of ours")
    (home.runs / "notes.txt").write_text("mine")
    (home.runs / "Copy of a run").mkdir()
    os.mkdir(os.fsencode(home.runs) + b"/\xff\xfe")
    (home.runs / ".DS_Store").write_text("")
    emptied(backend)
    items = [DamagedFolder.model_validate(item) for item in backend.get("/system")["damaged_folders"]]
    found = {(item.kind, item.id): item for item in items}
    assert set(found) == {
        ("dataset", "bad"), ("dataset", "torn-store"), ("dataset", "torn-table"), ("score", "broken"),
        ("batch", "broken"), ("subset", "broken"), ("run", "notes.txt"), ("run", "Copy of a run"), ("run", "??"),
    }  # fmt: skip
    assert not found["dataset", "torn-store"].is_shown
    assert found["dataset", "torn-table"].is_shown
    assert "prepare the dataset again" in found["dataset", "torn-table"].remedy
    assert "Move it out of the home" in found["run", "notes.txt"].remedy
    assert {item["id"] for item in backend.get("/datasets")["items"]} == {good, "torn-table"}
    paged, cursor = [], None
    while True:
        page = backend.get("/system/damaged-folders", limit=2, **({"cursor": cursor} if cursor else {}))
        paged += [(item["kind"], item["id"]) for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(paged) == sorted(found)


def test_a_damaged_checkpoint_is_named_and_the_run_is_shown_all_the_same(backend: Backend) -> None:
    run = write_run(backend.home)
    newest = backend.home.run(run).checkpoints / "epoch-00003.safetensors"
    emptied(backend)
    assert set_apart(backend) == {}
    newest.write_bytes(checkpoint_bytes()[:-1])
    os.utime(newest.parent)
    folder = set_apart(backend)[run]
    assert folder.is_shown
    assert folder.path == str(newest)
    assert "its header says" in folder.reason
    assert [shown["id"] for shown in backend.get("/runs")["items"]] == [run]


def test_a_mended_folder_comes_back_at_the_next_start_though_redis_kept_its_data(
    tmp_path: Path, valkey_url: str
) -> None:
    home = Home(tmp_path / "home")
    home.create()
    run, dataset = write_run(home), write_dataset(home)
    kept = {path: path.read_bytes() for path in (home.run(run).spec, home.dataset(dataset).spec)}
    for path in kept:
        path.write_text("{")
    settings = settings_for(home.path, valkey_url)
    with serving(settings) as backend:
        assert set(set_apart(backend)) == {run, dataset}
        assert backend.get("/runs")["items"] == []
        assert all(path.read_text() == "{" for path in kept)
        for path, content in kept.items():
            path.write_bytes(content)
            os.utime(path, (0, 0))
        unlisted = set_apart(backend)
        assert {folder.remedy for folder in unlisted.values()} == {"Restart Gapscope: it comes back."}
    with serving(settings) as backend:
        wait_for(lambda: backend.get("/runs")["items"], "the run is back")
        assert set_apart(backend) == {}
        assert backend.get(f"/runs/{run}")["state"] == "finished"
        assert [item["id"] for item in backend.get("/datasets")["items"]] == [dataset]


def test_a_launch_under_way_is_not_named(backend: Backend) -> None:
    backend.home.run("run-new").path.mkdir()
    assert set_apart(backend) == {}
    write_json(
        backend.home.run("run-new").spec,
        {"format": 1, "id": "run-new", "created_at": START.isoformat(), "spec": {"preset": "demo"}},
    )
    backend.home.dataset("gone").path.mkdir()
    os.utime(backend.home.dataset("gone").path, (0, 0))
    assert "gone" in set_apart(backend)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, for whom nothing is denied."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read_is_named_with_the_rights_to_give() -> None:
    folder = Path(tempfile.mkdtemp(prefix="gapscope-rights-"))
    folder.chmod(0o755)
    try:
        home = Home(folder / "home")
        home.create()
        home.path.chmod(0o755)
        runs = [write_run(home) for _ in range(3)]
        home.run(runs[0]).path.chmod(0)
        home.run(runs[1]).spec.chmod(0)
        home.batches.chmod(0)
        with as_nobody():
            found = {item.id or item.kind: item for item in Quarantine(home, None).found()}
        for path in (home.run(runs[0]).path, home.batches):
            path.chmod(0o755)
    finally:
        shutil.rmtree(folder)
    assert set(found) == {runs[0], runs[1], "batch"}
    assert all("ermission denied" in item.reason and "chmod" in item.remedy for item in found.values())
    assert found[runs[1]].path.endswith("spec.json")


def test_a_folder_above_that_is_a_link_to_another_disk_is_fine(home: Home, tmp_path: Path) -> None:
    home.runs.rmdir()
    (tmp_path / "disk").mkdir()
    home.runs.symlink_to(tmp_path / "disk")
    write_run(home)
    assert Quarantine(home, None).found() == []


def test_the_log_names_what_is_set_apart_though_nobody_asks(
    home: Home, valkey_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "FIRST_S", 0.01)
    (home.runs / "notes.txt").write_text("mine")
    with redis.Redis.from_url(valkey_url, decode_responses=True) as client:
        watched = Quarantine(home, Ledger(client))

        async def until_told() -> None:
            task = asyncio.create_task(watched.run())
            while not caplog.messages:
                await asyncio.sleep(0.01)
            task.cancel()

        with caplog.at_level(logging.WARNING):
            run_apart(asyncio.wait_for(until_told(), 10))
    assert caplog.messages == [f"set apart: {home.runs / 'notes.txt'}: {watched.found()[0].reason}. {FOREIGN}"]


def test_an_asker_is_not_kept_waiting_by_a_long_look(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "PATIENCE_S", 0.01)
    (home.runs / "notes.txt").write_text("mine")
    looked = Quarantine(home, None)
    before = looked.found()
    (home.runs / "notes.txt").unlink()
    with looked._lock:
        assert looked.found() == before
    assert looked.found() == []


def test_one_look_that_fails_does_not_end_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[float] = []

    def look(self: Quarantine) -> list[object]:
        looks.append(time.monotonic())
        raise ValueError("an entry that nobody foresaw")

    monkeypatch.setattr(quarantine, "FIRST_S", 0.01)
    monkeypatch.setattr(Quarantine, "found", look)

    async def watch() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(Quarantine(Home(tmp_path), None).run(), 2)

    asyncio.run(watch())
    assert len(looks) > 1
    assert "a look at the home failed" in caplog.text


def test_a_record_that_the_disk_does_not_give_hides_no_other_run(backend: Backend) -> None:
    runs = [write_run(backend.home, minute=minute) for minute in (0, 1)]
    for run in runs:
        backend.services.rebuilder.restore_run(run)
    spec = backend.home.run(runs[0]).spec
    spec.unlink()
    spec.mkdir()  # stands for a file that this user may not read, or a bad sector
    assert [run["id"] for run in backend.get("/runs")["items"]] == runs[1:]
