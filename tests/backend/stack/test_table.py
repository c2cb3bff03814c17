"""The process table: which processes there are, and what each may know."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from backend.stack import commands, server, table


def plan(home: Path, *, embedded: bool) -> table.Plan:
    own = server.EmbeddedServer(home / "redis", 1, "secret") if embedded else None
    return table.Plan(home, "127.0.0.1", 8000, 8501, own, own.url if own else "redis://elsewhere:6379/3")


def test_given_server_is_used_and_none_is_started(tmp_path: Path) -> None:
    entries = {entry.name: entry for entry in table.build(plan(tmp_path, embedded=False))}
    assert set(entries) == {"backend", "ui", "worker-train", "worker-prepare", "worker-score"}
    assert entries["backend"].environment["GAPSCOPE_REDIS_URL"] == "redis://elsewhere:6379/3"


def test_server_comes_first_and_only_backend_and_workers_know_its_address(tmp_path: Path) -> None:
    entries = table.build(plan(tmp_path, embedded=True))
    assert entries[0].name == "server"
    knowing = {entry.name for entry in entries if any("secret" in value for value in entry.environment.values())}
    assert knowing == {"backend", *(f"worker-{queue}" for queue in commands.QUEUES)}
    assert not any("secret" in word for entry in entries for word in entry.argv)


def test_several_train_workers_have_names_of_their_own_and_the_other_queues_one_worker(tmp_path: Path) -> None:
    entries = table.build(dataclasses.replace(plan(tmp_path, embedded=False), train_workers=3))
    workers = {entry.name: entry for entry in entries if entry.name.startswith("worker-")}
    assert list(workers) == ["worker-train", "worker-train-2", "worker-train-3", "worker-prepare", "worker-score"]
    hosts = [entry.argv[entry.argv.index("--hostname") + 1] for entry in workers.values()]
    assert hosts == ["train@%h", "train-2@%h", "train-3@%h", "prepare@%h", "score@%h"]
    assert {entry.log.name for entry in workers.values()} == {f"{name}.log" for name in workers}
    assert all(entry.argv[entry.argv.index("--queues") + 1] == "train" for entry in list(workers.values())[:3])


def test_addresses_of_a_proxy_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPSCOPE_PUBLIC_URL", "https://gaps.example.org")
    monkeypatch.delenv("GAPSCOPE_UI_ORIGIN", raising=False)
    values = table.environment(plan(tmp_path, embedded=False))
    assert values["GAPSCOPE_PUBLIC_URL"] == "https://gaps.example.org"
    assert values["GAPSCOPE_UI_ORIGIN"] == "http://127.0.0.1:8501"
    assert values["GAPSCOPE_API_URL"] == "http://127.0.0.1:8000"


def test_a_worker_is_never_killed_for_its_silence(tmp_path: Path) -> None:
    impatient = {entry.name for entry in table.build(plan(tmp_path, embedded=True)) if entry.restart_when_silent}
    assert impatient == {"server", "backend", "ui"}
