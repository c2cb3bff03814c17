"""Logs: appended, rotated under a living writer, read from the end."""

from __future__ import annotations

import os
from pathlib import Path

from backend.stack import logs


def test_writer_goes_on_at_the_begin_of_a_rotated_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "server.log"
    writer = logs.open_for_appending(log)
    os.write(writer, b"old\n" * 100)
    assert not logs.rotate(log, max_bytes=1_000)
    assert logs.rotate(log, max_bytes=100)
    os.write(writer, b"new\n")
    os.close(writer)
    assert log.read_bytes() == b"new\n"
    older = log.with_name("server.log.1")
    assert older.read_bytes() == b"old\n" * 100
    assert [path.stat().st_mode & 0o777 for path in (log, older)] == [0o600, 0o600]


def test_tail_is_the_last_lines_without_empty_ones(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 50_000 + b"\none\n\n\xfftwo\n")
    assert logs.tail(log, 2) == ["one", "\ufffdtwo"]
    assert logs.tail(tmp_path / "none") == []
