"""Doctor: what it finds, and that each thing in the way comes with a remedy."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from backend.stack import doctor, home_checks, machine_checks, record, server, server_checks
from backend.stack.errors import HomeTakenError
from backend.stack.home_lock import HomeLock
from tests.backend.folders import write_run
from tests.backend.stack.running import RunningStack, clean_environment
from tests.conftest import ValkeyServer
from worker.contract.layout import Home
from worker.contract.settings import Settings


def examined(home: Path, *, fix: bool = False, running: bool = False, **settings: Any) -> doctor.Examined:
    return doctor.Examined(Settings(home=home, **settings), home, 1, 2, fix, running)


def make_damaged(home: Path) -> server.EmbeddedServer:
    embedded = server.prepare(home)
    embedded.append_only_folder.mkdir()
    manifest = embedded.append_only_folder / "appendonly.aof.manifest"
    manifest.write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    good = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"
    (embedded.append_only_folder / "appendonly.aof.1.incr.aof").write_bytes(good + b"?" * 100)
    return embedded


def test_report_for_scripts_is_json_and_the_status_says_whether_it_can_start(tmp_path: Path) -> None:
    make_damaged(tmp_path)
    command = [sys.executable, "-m", "backend.stack", "doctor", "--json", "--home", str(tmp_path)]
    broken = subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean_environment())
    report = json.loads(broken.stdout)
    findings = {finding["check"]: finding for finding in report["findings"]}
    assert set(findings) == {
        "versions", "home", "rights", "leftovers", "server", "ports", "codecs", "devices", "disk", "locks", "folders",
        "unfinished runs",
    }  # fmt: skip
    assert findings["server"]["verdict"] == "error"
    assert "doctor --fix" in findings["server"]["remedy"]
    assert all(finding["remedy"] for finding in report["findings"] if finding["verdict"] != "ok")
    assert (broken.returncode, report["healthy"]) == (1, False)
    assert "made and read back H.264" in findings["codecs"]["detail"]
    assert "PyTorch" in findings["devices"]["detail"]


@pytest.mark.parametrize("manifest", [None, "this is no manifest\n"])
def test_fix_sets_damaged_files_aside_whole(tmp_path: Path, manifest: str | None) -> None:
    embedded = make_damaged(tmp_path)
    if manifest:
        (embedded.append_only_folder / "appendonly.aof.manifest").write_text(manifest)
    before = {path.name: path.read_bytes() for path in embedded.append_only_folder.iterdir()}
    assert "sets the files aside" in server_checks.check_server(examined(tmp_path)).remedy
    finding = server_checks.check_server(examined(tmp_path, fix=True))
    assert finding.verdict == "ok"
    assert "run folders rebuild" in finding.detail
    assert not embedded.append_only_folder.exists()  # what is before the damage may be older than the folders
    [aside] = embedded.folder.glob("aside-*")
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == before
    assert "its files are sound" in server_checks.check_server(examined(tmp_path)).detail


def test_home_of_another_format_is_an_error(tmp_path: Path) -> None:
    Home(tmp_path).create()
    Home(tmp_path).format_file.write_text('{"format": 99}')
    finding = home_checks.check_home(examined(tmp_path))
    assert finding.verdict == "error"
    assert "format 99" in finding.detail


def test_full_disk_is_an_error(tmp_path: Path) -> None:
    finding = machine_checks.check_disk(examined(tmp_path, min_free_bytes=2**60))
    assert finding.verdict == "error"


def test_taken_ports_are_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        state = doctor.Examined(Settings(home=tmp_path), tmp_path, port, 0, False, False)
        finding = machine_checks.check_ports(state)
    assert finding.verdict == "warning"
    assert str(port) in finding.detail


def test_unfinished_runs_are_listed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    for name, ended in (("run-a", True), ("run-b", False)):
        folder = home.run(name)
        folder.path.mkdir()
        folder.spec.write_text("{}")
        if ended:
            folder.outcome.write_text("{}")
    finding = home_checks.check_unfinished(examined(tmp_path))
    assert finding.verdict == "warning"
    assert "run-b" in finding.detail
    assert "run-a" not in finding.detail


def test_check_that_needs_a_home_in_use_says_so(tmp_path: Path) -> None:
    make_damaged(tmp_path)
    with HomeLock(tmp_path):
        (finding,) = doctor.examine(examined(tmp_path, fix=True), (server_checks.check_server,))
    assert finding.verdict == "warning"
    assert "serves it already" in finding.detail


def test_rights_of_others_are_taken_away(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    server.prepare(tmp_path)
    tmp_path.chmod(0o777)
    (tmp_path / "redis").chmod(0o755)
    (tmp_path / "media.key").write_bytes(b"secret")
    (tmp_path / "media.key").chmod(0o644)
    finding = home_checks.check_rights(examined(tmp_path))
    assert finding.verdict == "warning"
    assert "media.key (-rw-r--r--)" in finding.detail
    assert home_checks.check_rights(examined(tmp_path, fix=True)).verdict == "ok"
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path, tmp_path / "redis", tmp_path / "media.key")]
    assert modes == [0o775, 0o700, 0o600]
    assert "nobody else" in home_checks.check_rights(examined(tmp_path)).detail


def test_leftovers_of_a_stack_that_ended_badly_are_removed_and_nothing_else(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    run = home.run(write_run(home))
    old = [
        run.checkpoints / ".epoch-00004.safetensors.123.partial",
        home.scores / ".score-x.partial",
        home.datasets / ".upload-zip-x",
    ]
    young, going_on = run.samples / ".epoch-00004.parquet.123.partial", home.datasets / "clips" / "store.partial"
    for folder in (*old[1:], going_on):
        folder.mkdir(parents=True)
        (folder / "file").write_text("half")
    for file in (old[0], young):
        file.write_text("half")
    for path in (*old, going_on):
        os.utime(path, (0, 0))
    sleeper = subprocess.Popen(["sleep", "60"])
    created = psutil.Process(sleeper.pid).create_time()
    document = {"host": socket.gethostname(), "processes": {"ui": {"pid": sleeper.pid, "created": created}}}
    record.path_of(tmp_path).write_text(json.dumps(document))
    before = sorted(path for path in tmp_path.rglob("*") if not any(path.is_relative_to(gone) for gone in old))
    finding = home_checks.check_leftovers(examined(tmp_path))
    assert finding.verdict == "warning"
    assert "3 half-written" in finding.detail
    assert "stack.json" in finding.detail
    mended = home_checks.check_leftovers(examined(tmp_path, fix=True))
    assert mended.verdict == "ok"
    assert "ended 1 processes" in mended.detail
    sleeper.wait(5)
    assert not psutil.pid_exists(sleeper.pid)
    after = {*tmp_path.rglob("*")} - {tmp_path / "stack.lock"}
    assert after == set(before) - {record.path_of(tmp_path)}
    assert home_checks.check_leftovers(examined(tmp_path)).detail == "none"


def test_clips_are_no_leftovers_whatever_they_are_called(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    clips = home.dataset("mine").clips
    for name in ("train/wedding.partial/1.mp4", ".upload-mine/1.mp4", "train/.1.mp4.123.partial"):
        path = clips / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"clip")
    table = home.dataset("clips").features / ".table.123.partial"  # of a dataset that is called clips
    table.mkdir(parents=True)
    for path in (*clips.rglob("*"), table):
        os.utime(path, (0, 0))
    before = set(clips.rglob("*"))
    assert home_checks.check_leftovers(examined(tmp_path, fix=True)).verdict == "ok"
    assert set(clips.rglob("*")) == before
    assert not table.exists()


def test_leftovers_are_left_alone_while_another_stack_serves_the_home(tmp_path: Path) -> None:
    Home(tmp_path).create()
    record.path_of(tmp_path).write_text("{}")
    with HomeLock(tmp_path), pytest.raises(HomeTakenError):
        home_checks.check_leftovers(examined(tmp_path, fix=True))
    assert record.path_of(tmp_path).exists()


def test_a_folder_that_is_held_without_a_stack_is_named_with_its_holder(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    run = write_run(home)
    assert home_checks.check_locks(examined(tmp_path)).verdict == "ok"
    program = (
        "import sys, pathlib; from worker.contract.lock import FolderLock\n"
        "FolderLock.acquire(pathlib.Path(sys.argv[1]), token=1); print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(home.run(run).lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        finding = home_checks.check_locks(examined(tmp_path))
        holder.stdin.close()
    assert finding.verdict == "warning"
    assert f"{run} by process {holder.pid}" in finding.detail


def test_folders_that_cannot_be_read_are_named_with_their_remedies(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    assert home_checks.check_set_apart(examined(tmp_path)).verdict == "ok"
    home.run(write_run(home)).spec.write_text("{")
    (home.runs / "notes.txt").write_text("mine")
    finding = home_checks.check_set_apart(examined(tmp_path))
    assert finding.verdict == "warning"
    assert "2 cannot be read" in finding.detail
    assert "Restore it from a backup" in finding.detail
    assert "Move it out of the home" in finding.detail


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format":'])
def test_a_format_file_that_cannot_be_read_is_an_error(tmp_path: Path, text: str) -> None:
    Home(tmp_path).create()
    Home(tmp_path).format_file.write_text(text)
    assert home_checks.check_home(examined(tmp_path)).verdict == "error"


def test_a_server_that_forgets_or_evicts_is_named(valkey_server: ValkeyServer, valkey_url: str) -> None:
    settings = examined(Path("/nowhere"), redis_url=valkey_url)
    assert server_checks.check_server(settings).verdict == "ok"
    with redis.Redis.from_url(valkey_url) as client:
        try:
            client.config_set("appendonly", "no")
            forgets = server_checks.check_server(settings)
            client.config_set("maxmemory", client.info("memory")["used_memory"] + 100_000)
            full = server_checks.check_server(settings)
            client.config_set("maxmemory", "1gb")
            client.config_set("maxmemory-policy", "allkeys-lru")
            (evicts,) = doctor.examine(settings, (server_checks.check_server,))
        finally:
            for name, value in (("maxmemory-policy", "noeviction"), ("maxmemory", "0"), ("appendonly", "yes")):
                client.config_set(name, value)
    assert (forgets.verdict, full.verdict, evicts.verdict) == ("warning", "warning", "error")
    assert "appendonly yes" in forgets.remedy
    assert "maxmemory-policy noeviction" in evicts.detail


def test_releases_that_do_not_go_together_are_named_with_those_that_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine_checks.check_versions(examined(tmp_path)).verdict == "ok"
    (tmp_path / "torch-2.15.0.dist-info").mkdir()
    (tmp_path / "torch-2.15.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torch\nVersion: 2.15.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    finding = machine_checks.check_versions(examined(tmp_path))
    assert finding.verdict == "error"
    assert "torch 2.15.0 is none of" in finding.detail
    assert "torch>=2.13,<2.15" in finding.remedy


@pytest.mark.parametrize(
    ("module", "check"), [("torch", machine_checks.check_devices), ("av", machine_checks.check_codecs)]
)
def test_a_library_that_cannot_be_loaded_is_an_error_with_its_reason(
    module: str, check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{module}.py").write_text("raise OSError('made for another torch')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    finding = check(examined(tmp_path))
    assert finding.verdict == "error"
    assert "made for another torch" in finding.detail
    assert "pip install" in finding.remedy


def test_the_torch_that_doctor_asks_for_is_that_of_the_package() -> None:
    asked = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    bounds = re.findall(r"'(torch\w*[^']+)'", machine_checks.MATCHING_TORCH)
    assert len(bounds) == 3
    assert [bound for bound in bounds if f'"{bound}"' not in asked] == []


@pytest.mark.stack
def test_running_stack_is_healthy(
    stack: RunningStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = (
        home_checks.check_home, server_checks.check_server, machine_checks.check_ports, home_checks.check_leftovers,
        home_checks.check_unfinished, home_checks.check_set_apart,
    )  # fmt: skip
    monkeypatch.setattr(doctor, "CHECKS", quick)
    assert doctor.doctor(Settings(home=stack.home), 1, 2, fix=False, as_json=True) == 0
    findings = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert stack.ui_url in findings["home"]["detail"]
    assert "keeps an append-only file" in findings["server"]["detail"]
