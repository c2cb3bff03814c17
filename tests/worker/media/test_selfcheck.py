"""The self-check makes and reads real clips, and says which kind fails and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.media.selfcheck import KINDS, Kind, check


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.suffix)
def test_kinds_that_come_here_are_made_and_read_back(kind: Kind, tmp_path: Path) -> None:
    assert check(kind, tmp_path) is None


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Kind("no codec", ".mp4", "no-such-codec", "aac", 48_000), "no-such-codec"),
        (Kind("no demuxer of ours", ".gif", "gif", "aac", 48_000), "Error"),
    ],
)
def test_kind_that_fails_says_why(kind: Kind, reason: str, tmp_path: Path) -> None:
    assert reason in (check(kind, tmp_path) or "")
