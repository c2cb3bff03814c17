"""A full disk during each kind of file: the attempt ends as one that waits, and nothing torn is taken for whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.faults.epochs import EPOCHS, NUM_SAMPLES, RUN, Store, attempt, content, epoch_done
from tests.faults.limits import file_size_limit
from worker.contract.full_disk import is_full
from worker.contract.journal import EventReader, Journal
from worker.contract.layout import RunFolder, write_json
from worker.engine import checkpoint
from worker.runtime import exits
from worker.runtime.child import worth_another_try
from worker.runtime.tables import SampleFiles


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run after two epochs."""
    folder = RunFolder(tmp_path)
    attempt(folder, 2)
    return folder


@pytest.mark.parametrize("what", ["samples", "checkpoint"])
def test_a_disk_that_is_full_in_an_epoch_costs_time_and_nothing_else(
    folder: RunFolder, what: str, undisturbed: dict[str, bytes]
) -> None:
    whole = folder.sample_table(1) if what == "samples" else folder.checkpoints / "epoch-00001.safetensors"
    committed = {name: data for name, data in content(folder).items() if not name.endswith(".f32")}
    for number in (2, 3):
        with pytest.raises(OSError, match="File too large") as caught, file_size_limit(whole.stat().st_size // 2):
            attempt(folder, EPOCHS, number)
        assert is_full(caught.value)
        assert worth_another_try(caught.value)  # else the run were failed for good
        assert content(folder).items() >= committed.items()
        assert list(folder.path.rglob("*.partial")) == []  # a full disk gets its space back
        assert all(pq.read_table(path).num_rows == NUM_SAMPLES for path in folder.samples.glob("*.parquet"))
        newest = checkpoint.newest(folder.checkpoints)
        assert newest is not None
        assert newest.epoch == 2
    attempt(folder, EPOCHS, 4)
    assert content(folder) == undisturbed


def test_a_disk_that_is_full_at_the_line_of_an_event_leaves_no_part_of_it(
    folder: RunFolder, undisturbed: dict[str, bytes]
) -> None:
    done, whole = epoch_done(3), folder.events.read_bytes()
    SampleFiles(folder, Store()).write_epoch(3, done.rows, done.columns, done.gaps, done.posteriors)
    checkpoint.save(done.snapshot, folder.checkpoints)
    journal = Journal.open(folder, run_id=RUN, token=2, attempt=2, ledger=None)
    for room in (0, 1, 1_000):
        with pytest.raises(OSError, match=r"too large|disk full") as caught, file_size_limit(len(whole) + room):
            journal.append(done.event)
        assert is_full(caught.value)
        assert folder.events.read_bytes() == whole
        assert (journal.seq, len(EventReader(folder.events))) == (2, 2)
    journal.close()
    attempt(folder, EPOCHS, 3)  # the checkpoint has the event
    assert content(folder) == undisturbed


ENDING = """
import errno, logging, os, sys
from worker.runtime.attempt import run_attempt

def ends_with(error):
    class Failing:
        def __init__(self, *_):
            raise error
    reading, writing = os.pipe()
    code = run_attempt(["run-1", "1", "1", "", str(writing), str(os.getppid())], "run", logging.getLogger(), Failing)
    assert str(error).encode() in os.read(reading, 1_000)
    return code

codes = [ends_with(OSError(number, "text")) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)]
print(*codes, ends_with(MemoryError()))
"""


def test_a_child_says_by_its_exit_code_that_the_disk_takes_no_more(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENDING]
    environment = os.environ | {"GAPSCOPE_HOME": str(tmp_path)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.split() == [str(code) for code in (exits.FULL,) * 3 + (exits.AGAIN,) * 2]


def test_a_small_file_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "outcome.json"
    write_json(path, {"old": True})
    before = path.read_bytes()
    with pytest.raises(OSError, match="File too large"), file_size_limit(10):
        write_json(path, {"new": "x" * 100})
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("outcome.json", before)]
