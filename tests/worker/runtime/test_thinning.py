from __future__ import annotations

from pathlib import Path

import pytest

from worker.contract.layout import RunFolder
from worker.contract.sample_tables import kept_every, table_epochs
from worker.runtime.thinning import thin_tables


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path)
    made.samples.mkdir()
    return made


def finish(folder: RunFolder, epoch: int, *, chosen: int = 3, max_bytes: int = 500) -> None:
    folder.sample_table(epoch).write_bytes(bytes(100))
    thin_tables(folder, newest=epoch, chosen=chosen, max_bytes=max_bytes)


def test_nothing_is_thinned_below_the_limit(folder: RunFolder) -> None:
    for epoch in range(1, 6):
        finish(folder, epoch)
    assert table_epochs(folder) == [1, 2, 3, 4, 5]
    assert kept_every(folder) == 1


def test_beyond_it_every_second_then_every_fourth_epoch_stays_with_the_chosen_and_the_newest(folder: RunFolder) -> None:
    for epoch in range(1, 7):
        finish(folder, epoch)
    assert table_epochs(folder) == [2, 3, 4, 6]
    assert kept_every(folder) == 2
    for epoch in range(7, 20):
        finish(folder, epoch)
        assert len(table_epochs(folder)) <= 5
        assert {3, epoch} <= set(table_epochs(folder))
    assert kept_every(folder) >= 4


def test_the_newest_and_the_chosen_stay_whatever_the_limit(folder: RunFolder) -> None:
    for epoch in range(1, 10):
        finish(folder, epoch, max_bytes=0)
    assert table_epochs(folder) == [3, 9]
