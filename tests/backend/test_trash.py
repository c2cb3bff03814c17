"""Deleted runs: listed, brought back as they were, or deleted for good."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backend.conftest import Backend
from tests.backend.folders import write_run


@pytest.fixture
def run(backend: Backend) -> str:
    run_id = write_run(backend.home, name="precious", tags=["kept"])
    backend.services.rebuilder.restore_run(run_id)
    backend.services.trash.empty()
    return run_id


def comparable(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "attempt"}


def test_deleted_run_is_brought_back_as_it_was(backend: Backend, run: str) -> None:
    backend.http.patch(f"/runs/{run}", json={"notes": "do not lose"})
    before = backend.get(f"/runs/{run}")
    reclaimable = backend.http.delete(f"/runs/{run}").json()["reclaimable_bytes"]
    (entry,) = backend.get("/trash")["items"]
    assert (entry["id"], entry["name"], entry["tags"]) == (run, "precious", ["kept"])
    assert (entry["state"], entry["objective"]) == ("finished", before["spec"]["objective"]["kind"])
    assert entry["deleted_at"] < entry["empties_at"]
    assert entry["num_bytes"] >= reclaimable > 0
    restored = backend.http.post(f"/runs/{run}/restore")
    assert restored.status_code == 200
    assert comparable(backend.get(f"/runs/{run}")) == comparable(before) == comparable(restored.json())
    assert backend.get("/trash")["items"] == []
    assert len(backend.get(f"/runs/{run}/events")["events"]) == 5
    assert backend.get(f"/runs/{run}/samples", limit=1)["items"]
    assert backend.http.post(f"/runs/{run}/restore").status_code == 200  # a second press of Undo


def test_run_deleted_for_good_cannot_be_brought_back(backend: Backend, run: str) -> None:
    backend.http.delete(f"/runs/{run}")
    assert backend.http.delete(f"/trash/{run}").json()["freed_bytes"] > 0
    backend.problem(backend.http.post(f"/runs/{run}/restore"), 404, "not-in-trash")
    backend.problem(backend.http.delete(f"/trash/{run}"), 404, "not-in-trash")
    assert list(backend.home.trash.iterdir()) == []


def test_trash_is_emptied_only_when_it_is_meant(backend: Backend, run: str) -> None:
    backend.http.delete(f"/runs/{run}")
    assert backend.http.delete("/trash").status_code == 422
    assert backend.http.delete("/trash", params={"confirm": "false"}).json() == {"freed_bytes": 0}
    assert len(backend.get("/trash")["items"]) == 1
    assert backend.http.delete("/trash", params={"confirm": "true"}).json()["freed_bytes"] > 0
    assert backend.get("/trash")["items"] == []


@pytest.fixture
def elsewhere(backend: Backend) -> Iterator[str]:
    """A run in a folder of runs that is a link to another file system."""
    memory, runs = Path("/dev/shm"), backend.home.runs
    if not memory.is_dir() or memory.stat().st_dev == runs.stat().st_dev:
        pytest.skip("there is no second file system here")
    disk = Path(tempfile.mkdtemp(dir=memory))
    runs.rmdir()
    runs.symlink_to(disk)
    try:
        run_id = write_run(backend.home)
        backend.services.rebuilder.restore_run(run_id)
        yield run_id
    finally:
        backend.services.trash.empty()
        runs.unlink()
        runs.mkdir()
        shutil.rmtree(disk)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_on_another_disk_is_deleted_and_brought_back_as_it_was(backend: Backend, elsewhere: str) -> None:
    before, kept = backend.get(f"/runs/{elsewhere}"), files(backend.home.run(elsewhere).path)
    assert backend.http.delete(f"/runs/{elsewhere}").status_code == 200
    assert list(backend.home.runs.iterdir()) == []
    assert [entry["id"] for entry in backend.get("/trash")["items"]] == [elsewhere]
    assert backend.http.post(f"/runs/{elsewhere}/restore").status_code == 200
    assert comparable(backend.get(f"/runs/{elsewhere}")) == comparable(before)
    assert files(backend.home.run(elsewhere).path) == kept
    assert list(backend.home.trash.iterdir()) == []
    assert backend.http.delete(f"/runs/{elsewhere}", params={"purge": "true"}).status_code == 200
    assert [*backend.home.runs.iterdir(), *backend.home.trash.iterdir()] == []


def test_a_run_that_the_trash_on_another_disk_cannot_take_stays_as_it_is(
    backend: Backend, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: str, target: str, **_: Any) -> None:
        raise OSError(28, "No space left on device")

    kept = files(backend.home.run(elsewhere).path)
    monkeypatch.setattr(shutil, "copyfile", full)
    backend.problem(backend.http.delete(f"/runs/{elsewhere}"), 507, "disk-full")
    assert backend.get(f"/runs/{elsewhere}")["state"] == "finished"
    assert files(backend.home.run(elsewhere).path) == kept
    assert list(backend.home.trash.iterdir()) == []


def test_a_run_that_is_resumed_while_it_is_copied_to_the_trash_stays(
    backend: Backend, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resume() -> None:
        assert backend.ledger.resume("run", elsewhere, from_states=("finished",)).value == "ok"

    monkeypatch.setattr(os, "sync", resume)
    backend.problem(backend.http.delete(f"/runs/{elsewhere}"), 409, "run-active")
    assert backend.home.run(elsewhere).spec.exists()
    assert list(backend.home.trash.iterdir()) == []


def test_trash_is_paged_newest_first_and_shows_what_cannot_be_read(backend: Backend, run: str) -> None:
    others = [write_run(backend.home, minute=minute) for minute in (1, 2)]
    for number, run_id in enumerate((run, *others)):
        backend.home.run(run_id).path.rename(backend.home.trash / f"{run_id}.{1_000 + number}")
    (backend.home.trash / f"{others[1]}.1002" / "spec.json").write_text("{")
    first = backend.get("/trash", limit=2)
    second = backend.get("/trash", limit=2, cursor=first["next"])
    assert [entry["id"] for entry in first["items"] + second["items"]] == [others[1], others[0], run]
    assert first["items"][0]["name"] == others[1]
    assert second["next"] is None
    backend.services.trash.empty()


def test_restore_cut_short_between_folder_and_ledger_is_finished_by_the_next(backend: Backend, run: str) -> None:
    backend.http.delete(f"/runs/{run}")
    (folder,) = backend.home.trash.iterdir()
    folder.rename(backend.home.run(run).path)
    assert backend.http.post(f"/runs/{run}/restore").json()["state"] == "finished"
