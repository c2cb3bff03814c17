"""The reaper: what it runs into once must not keep it from what it does each second."""

from __future__ import annotations

import time

import pytest

from backend.reaper import Reaper
from tests.backend.conftest import Backend
from tests.backend.folders import write_run


def reaper_of_a_new_start(backend: Backend) -> Reaper:
    services = backend.services
    return Reaper(services.tools, services.runs, services.rebuilder, services.labels)


def test_labels_that_the_disk_does_not_give_stop_no_turn_and_hide_no_run(backend: Backend) -> None:
    bad, good = (write_run(backend.home, minute=minute, name="before") for minute in (0, 1))
    for run in (bad, good):
        backend.services.rebuilder.restore_run(run)
        backend.http.patch(f"/runs/{run}", json={"name": "kept"})
    backend.home.run(bad).labels.unlink()
    backend.home.run(bad).labels.mkdir()  # stands for a file that this user may not read, or a bad sector
    labels = backend.home.run(good).labels
    labels.write_text(labels.read_text().replace("kept", "newer"))
    reaper_of_a_new_start(backend).turn(time.monotonic())
    assert [backend.get(f"/runs/{run}")["name"] for run in (bad, good)] == ["kept", "newer"]


def test_what_is_done_once_at_the_start_stops_no_turn_when_it_fails_and_is_named_once(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise OSError("bad sector")

    monkeypatch.setattr(backend.services.rebuilder, "bring_back_mended", fails)
    settled: list[int] = []
    monkeypatch.setattr(backend.services.labels, "settle", lambda: settled.append(1))
    reaper = reaper_of_a_new_start(backend)
    for _ in range(2):
        reaper.turn(time.monotonic())
    assert settled == [1]
    assert len([record for record in caplog.records if "at the start" in record.message]) == 1
