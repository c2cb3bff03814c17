"""Specs as a worker reads them: a kind that it lacks is named, with what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from worker.contract.errors import CorruptRecordError
from worker.contract.layout import Home
from worker.contract.record import SpecRecord
from worker.contract.spec.registry import BROKEN_PLUGINS
from worker.runtime.specs import dataset_spec, run_spec

RUN: dict[str, Any] = {"dataset": {"kind": "av-digits"}}


def write(path: Path, spec: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True)
    SpecRecord(id=path.parent.name, created_at=datetime.now(UTC), spec=spec).write(path)


@pytest.mark.parametrize(
    "changes", [{"objective": {"kind": "theirs"}}, {"encoder": {"kind": "theirs"}}, {"dataset": {"kind": "theirs"}}]
)
def test_run_of_a_plugin_that_this_worker_lacks_names_the_kind_and_the_broken_ones(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Home(tmp_path).run("run-a-b")
    write(folder.spec, RUN | changes)
    monkeypatch.setitem(BROKEN_PLUGINS, "theirs (pack 1.0)", "ImportError: no torch")
    with pytest.raises(CorruptRecordError, match=r"the kind 'theirs'.*theirs \(pack 1\.0\): ImportError") as caught:
        run_spec(folder, "run-a-b")
    assert caught.value.code == "implementation-missing"


def test_dataset_of_a_plugin_that_this_worker_lacks_is_named_too(tmp_path: Path) -> None:
    folder = Home(tmp_path).dataset("theirs-1")
    write(folder.spec, {"kind": "theirs"})
    with pytest.raises(CorruptRecordError, match="Broken plug-ins here: none") as caught:
        dataset_spec(folder, "theirs-1")
    assert caught.value.code == "implementation-missing"


def test_spec_that_is_otherwise_wrong_is_unreadable(tmp_path: Path) -> None:
    folder = Home(tmp_path).run("run-a-b")
    write(folder.spec, RUN | {"epochs": 0})
    with pytest.raises(CorruptRecordError, match="holds no run spec") as caught:
        run_spec(folder, "run-a-b")
    assert caught.value.code != "implementation-missing"
