"""The record of what runs, and what a stack that ended badly left behind."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from backend.stack import record


def left_behind(home: Path, process: psutil.Process, **changes: object) -> None:
    entry = {"pid": process.pid, "created": process.create_time(), **changes}
    document = {"host": socket.gethostname(), "processes": {"server": entry, "ui": {"pid": None, "created": 0.0}}}
    record.path_of(home).write_text(json.dumps(document))


def test_what_a_killed_stack_left_behind_is_ended_with_its_children(tmp_path: Path) -> None:
    program = "import subprocess; subprocess.run(['sleep', '60'])"
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        parent = psutil.Process(process.pid)
        while not parent.children():
            pass
        child = parent.children()[0]
        left_behind(tmp_path, parent)
        assert set(record.kill_leftovers(tmp_path)) == {parent.pid, child.pid}
        process.wait(5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_stranger_with_the_same_id_is_spared(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        left_behind(tmp_path, psutil.Process(process.pid), created=1.0)
        assert record.kill_leftovers(tmp_path) == []
        assert process.poll() is None
        process.kill()


def test_no_record_or_a_broken_one_is_nothing(tmp_path: Path) -> None:
    assert record.kill_leftovers(tmp_path) == []
    record.path_of(tmp_path).write_text("{half")
    assert record.read(tmp_path) is None
    assert record.kill_leftovers(tmp_path) == []
