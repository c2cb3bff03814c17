"""One stack serves a home, and the second learns who the first is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.stack.errors import HomeTakenError, StackError
from backend.stack.home_lock import HomeLock, is_locked


def test_second_holder_is_refused_and_learns_of_the_first(tmp_path: Path) -> None:
    with HomeLock(tmp_path) as lock:
        lock.name_holder(api_url="http://127.0.0.1:1", ui_url="http://127.0.0.1:2")
        assert is_locked(tmp_path)
        with pytest.raises(HomeTakenError) as raised, HomeLock(tmp_path):
            pass
    assert f"process {os.getpid()}" in raised.value.detail
    assert "http://127.0.0.1:2" in raised.value.detail
    assert not is_locked(tmp_path)


def test_lock_ends_with_its_holder_and_is_not_inherited_by_its_children(tmp_path: Path) -> None:
    program = (
        "import os, subprocess, sys; from pathlib import Path; from backend.stack.home_lock import HomeLock\n"
        "with HomeLock(Path(sys.argv[1])):\n"
        "    subprocess.Popen(['sleep', '3'], stdout=subprocess.DEVNULL)\n"
        "    print('held', flush=True); os.kill(os.getpid(), 9)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True)
    output, _ = holder.communicate(timeout=20)
    assert output == "held\n"
    with HomeLock(tmp_path):
        assert is_locked(tmp_path)


def test_home_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stack.lock").mkdir()
    with pytest.raises(StackError, match="--home"), HomeLock(tmp_path):
        pass
