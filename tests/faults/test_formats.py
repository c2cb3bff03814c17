"""Files of a later version are refused by name and left alone; they hide nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.backend.conftest import serving, settings_for
from tests.backend.folders import write_dataset, write_run
from tests.backend.stack.running import start_stack
from worker.contract.errors import CorruptRecordError
from worker.contract.layout import HOME_FORMAT, Home
from worker.contract.record import (
    Outcome,
    RunLabels,
    SpecRecord,
    read_labels,
    read_outcome,
    read_score_outcome,
    read_spec,
)
from worker.datasets.store import PreparedStore

RECORDS: list[tuple[str, Callable[[Path], object], dict[str, Any]]] = [
    ("spec.json", read_spec, {"id": "run-1", "created_at": "2026-11-24T00:00:00Z", "spec": {}}),
    ("outcome.json", read_outcome, {"state": "finished", "finished_at": "2026-11-24T00:00:00Z"}),
    ("result.json", read_score_outcome, {"state": "finished", "finished_at": "2026-11-24T00:00:00Z"}),
    ("labels.json", read_labels, {"name": "a", "tags": [], "notes": ""}),
]


@pytest.mark.parametrize(("name", "read", "fields"), RECORDS)
def test_a_record_of_a_later_version_is_refused_by_its_number_and_an_older_one_is_read(
    tmp_path: Path, name: str, read: Callable[[Path], object], fields: dict[str, Any]
) -> None:
    path = tmp_path / name
    path.write_text(json.dumps({"format": 2, "new_in_2": True, **fields}))
    with pytest.raises(CorruptRecordError, match="format 2, written by a later version") as caught:
        read(path)
    assert caught.value.code == "format-too-new"
    for older in ({"format": 1}, {"format": 0}, {}):
        path.write_text(json.dumps(older | fields))
        assert read(path) is not None


def test_what_is_written_today_can_be_read_today(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for name, read, written in (
        ("spec", read_spec, SpecRecord(id="run-1", created_at=now, spec={})),
        ("outcome", read_outcome, Outcome.now("finished")),
        ("labels", read_labels, RunLabels(name="", tags=(), notes="")),
    ):
        written.write(tmp_path / name)
        assert read(tmp_path / name) == written


@pytest.mark.parametrize("content", [json.dumps({"format": HOME_FORMAT + 1}), "{"])
def test_a_home_that_cannot_be_read_is_refused_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "home.json").write_text(content)
    with pytest.raises(CorruptRecordError, match=r"home\.json"):
        Home(home).create()
    process = start_stack(home)
    assert process.wait(30) == 1
    said = (tmp_path / "up.log").read_text()
    assert "home.json" in said
    assert "Traceback" not in said
    assert sorted(path.name for path in home.iterdir()) == ["home.json"]
    assert (home / "home.json").read_text() == content


def test_a_store_of_a_later_version_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    home = Home(tmp_path)
    store = home.dataset(write_dataset(home)).store
    document = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps(document | {"format": 99}))
    with pytest.raises(CorruptRecordError, match="format 99"):
        PreparedStore.open(store)


def test_a_run_whose_events_are_of_a_later_version_hides_no_other(tmp_path: Path, valkey_url: str) -> None:
    home = Home(tmp_path / "home")
    home.create()
    write_dataset(home)
    newer, known = write_run(home), write_run(home)
    events = home.run(newer).events
    events.write_text(events.read_text().replace('"format":1', '"format":2'))
    with serving(settings_for(home.path, valkey_url)) as backend:
        assert [run["id"] for run in backend.get("/runs")["items"]] == [known]
