"""Doctor: what it finds, and that each thing in the way comes with a remedy."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backend.stack import doctor, server
from backend.stack.home_lock import HomeLock
from tests.backend.stack.running import RunningStack, clean_environment
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
        "versions", "home", "server", "ports", "codecs", "devices", "disk", "unfinished runs"
    }  # fmt: skip
    assert findings["server"]["verdict"] == "error"
    assert "doctor --fix" in findings["server"]["remedy"]
    assert all(finding["remedy"] for finding in report["findings"] if finding["verdict"] != "ok")
    assert (broken.returncode, report["healthy"]) == (1, False)
    assert "H.264" in findings["codecs"]["detail"]
    assert "PyTorch" in findings["devices"]["detail"]


def test_fix_repairs_damaged_files_and_keeps_a_copy(tmp_path: Path) -> None:
    embedded = make_damaged(tmp_path)
    finding = doctor.check_server(examined(tmp_path, fix=True))
    assert finding.verdict == "ok"
    assert "repaired" in finding.detail
    assert server.check_files(embedded, fix=False) is None
    assert len(list(embedded.folder.glob("copy-*"))) == 1


def test_fix_sets_aside_what_cannot_be_repaired(tmp_path: Path) -> None:
    embedded = make_damaged(tmp_path)
    (embedded.append_only_folder / "appendonly.aof.manifest").write_text("this is no manifest\n")
    finding = doctor.check_server(examined(tmp_path, fix=True))
    assert finding.verdict == "ok"
    assert "run folders rebuild" in finding.detail
    assert not embedded.append_only_folder.exists()


def test_home_of_another_format_is_an_error(tmp_path: Path) -> None:
    Home(tmp_path).create()
    Home(tmp_path).format_file.write_text('{"format": 99}')
    finding = doctor.check_home(examined(tmp_path))
    assert finding.verdict == "error"
    assert "format 99" in finding.detail


def test_full_disk_is_an_error(tmp_path: Path) -> None:
    finding = doctor.check_disk(examined(tmp_path, min_free_bytes=2**60))
    assert finding.verdict == "error"


def test_taken_ports_are_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        state = doctor.Examined(Settings(home=tmp_path), tmp_path, port, 0, False, False)
        finding = doctor.check_ports(state)
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
    finding = doctor.check_unfinished(examined(tmp_path))
    assert finding.verdict == "warning"
    assert "run-b" in finding.detail
    assert "run-a" not in finding.detail


def test_check_that_needs_a_home_in_use_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (doctor.check_server,))
    make_damaged(tmp_path)
    with HomeLock(tmp_path):
        (finding,) = doctor.examine(examined(tmp_path, fix=True))
    assert finding.verdict == "warning"
    assert "serves it already" in finding.detail


@pytest.mark.stack
def test_running_stack_is_healthy(
    stack: RunningStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = (doctor.check_home, doctor.check_server, doctor.check_ports, doctor.check_unfinished)
    monkeypatch.setattr(doctor, "CHECKS", quick)
    assert doctor.doctor(Settings(home=stack.home), 1, 2, fix=False, as_json=True) == 0
    findings = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert stack.ui_url in findings["home"]["detail"]
    assert "answers on port" in findings["server"]["detail"]
