"""Clips outside the data roots are left out, by their own path or through a link."""

from __future__ import annotations

from pathlib import Path

from worker.datasets.roots import CODE, keep_within
from worker.datasets.source import ClipEntry, DatasetListing


def entry(name: str, path: Path, **rest: Path | str) -> ClipEntry:
    return ClipEntry(name, path, "a", "train", **rest)  # type: ignore[arg-type]


def test_clips_outside_are_skipped_with_a_reason_and_made_ones_stay(tmp_path: Path) -> None:
    root, secret = tmp_path / "open", tmp_path / "secret.mp4"
    root.mkdir()
    secret.touch()
    (root / "link.mp4").symlink_to(secret)
    (root / "inside.mp4").symlink_to(root / "real.mp4")
    entries = [
        entry("good", root / "real.mp4"),
        entry("linked inside", root / "inside.mp4"),
        entry("linked outside", root / "link.mp4"),
        entry("climbs", root / ".." / "secret.mp4"),
        entry("sound outside", root / "real.mp4", audio_path=secret),
        entry("made", tmp_path / "made.mp4", maker="a:b"),
    ]
    kept = keep_within(DatasetListing(("a",), entries), (root,))
    assert [one.sample_id for one in kept.entries] == ["good", "linked inside", "made"]
    assert [(one.sample_id, one.code) for one in kept.skipped] == [
        ("linked outside", CODE),
        ("climbs", CODE),
        ("sound outside", CODE),
    ]
    assert keep_within(DatasetListing(("a",), entries), ()).entries == entries
