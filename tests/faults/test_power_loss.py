"""What a power loss can leave half-written: the next attempt goes on from what is whole, to the same files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.epochs import EPOCHS, RUN, attempt, content, epoch_done
from worker.contract.errors import CorruptRecordError
from worker.contract.journal import EventReader, Journal
from worker.contract.layout import RunFolder
from worker.engine import checkpoint

CUTS = (1, 0.5, -1)
"""How much of a file is there: a byte, half of it, all but a byte."""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run after three epochs."""
    folder = RunFolder(tmp_path)
    attempt(folder, 3)
    return folder


def checkpoint_of(folder: RunFolder, epoch: int) -> Path:
    return checkpoint.epoch_checkpoints(folder.checkpoints)[epoch]


def tear(path: Path, cut: float, begin: int = 0) -> None:
    """Leaves a part of what a file holds after `begin`."""
    size = path.stat().st_size - begin
    os.truncate(path, begin + (int(size * cut) if 0 < cut < 1 else int(cut) % size))


@pytest.mark.parametrize("cut", CUTS)
def test_a_torn_last_event_is_written_again_from_its_checkpoint(
    folder: RunFolder, cut: float, undisturbed: dict[str, bytes]
) -> None:
    lines = folder.events.read_bytes().splitlines(keepends=True)
    tear(folder.events, cut, begin=sum(map(len, lines[:2])))
    assert len(EventReader(folder.events)) == 2  # a reader never sees a part of an event
    attempt(folder, EPOCHS, 2)
    assert content(folder) == undisturbed


@pytest.mark.parametrize("cut", CUTS)
def test_a_half_written_checkpoint_costs_its_epoch_and_tells_nothing_twice(
    folder: RunFolder, cut: float, undisturbed: dict[str, bytes]
) -> None:
    tear(checkpoint_of(folder, 3), cut)
    attempt(folder, EPOCHS, 2)
    assert content(folder) == undisturbed


def test_with_no_checkpoint_that_can_be_read_the_run_begins_anew_and_tells_nothing_twice(
    folder: RunFolder, undisturbed: dict[str, bytes]
) -> None:
    for path in checkpoint.epoch_checkpoints(folder.checkpoints).values():
        tear(path, 0.5)
    attempt(folder, EPOCHS, 2)
    assert content(folder) == undisturbed


@pytest.mark.parametrize("cut", CUTS)
def test_half_written_tables_of_an_epoch_that_was_not_committed_are_written_again(
    folder: RunFolder, cut: float, undisturbed: dict[str, bytes]
) -> None:
    lines = folder.events.read_bytes().splitlines(keepends=True)
    folder.events.write_bytes(b"".join(lines[:2]))
    checkpoint_of(folder, 3).unlink()
    tear(folder.sample_table(3), cut)
    for path in (folder.gaps, folder.posteriors):
        tear(path, cut, begin=path.stat().st_size * 2 // 3)
    (folder.samples / ".epoch-00003.parquet.1.partial").write_bytes(b"PAR1")
    (folder.checkpoints / ".epoch-00003.safetensors.1.partial").write_bytes(b"{")
    attempt(folder, EPOCHS, 2)
    assert content(folder) == undisturbed


def test_events_that_were_durable_and_are_gone_are_told_of_and_not_made_up(folder: RunFolder) -> None:
    os.truncate(folder.events, len(folder.events.read_bytes().splitlines(keepends=True)[0]))
    with pytest.raises(CorruptRecordError, match="events are missing"):
        attempt(folder, EPOCHS, 2)
    journal = Journal.open(folder, run_id=RUN, token=3, attempt=3, ledger=None)  # the refusal keeps no lock
    assert journal.seq == 1
    journal.close()


def test_a_checkpoint_is_on_the_disk_before_its_name_is(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        done.append(
            f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name.partition('.partial')[1] or 'folder'}"
        )
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    checkpoint.save(epoch_done(4).snapshot, folder.checkpoints)
    assert done == ["fsync .partial", "rename", "fsync folder"]
