from __future__ import annotations

import json
import tracemalloc
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from worker.datasets.partial import Finished, PartialStore, Shapes
from worker.datasets.results import JournalResults


def journal(path: Path, *items: Finished) -> Path:
    path.write_text("".join(json.dumps(asdict(item)) + "\n" for item in items))
    return path


def test_rows_are_read_back_and_the_missing_ones_named(tmp_path: Path) -> None:
    lines = (Finished(3, duration_s=1.5), Finished(0, "media-empty", "Nothing."), Finished(3, duration_s=2.5))
    results = JournalResults(journal(tmp_path / "journal.jsonl", *lines), 5)
    assert list(results) == [0, 3]
    assert len(results) == 2
    assert results[3].duration_s == 2.5  # the last line counts
    assert results[0].reason == "Nothing."
    assert results.num_skipped == 1
    assert list(results.missing()) == [1, 2, 4]
    with pytest.raises(KeyError):
        results[1]


def test_a_finished_clip_costs_a_few_bytes_of_memory(tmp_path: Path) -> None:
    number = 20_000
    path = journal(tmp_path / "journal.jsonl", *(Finished(k, decoding="x" * 200) for k in range(number)))
    tracemalloc.start()
    results = JournalResults(path, number)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(results) == number
    assert kept / number < 32


@pytest.mark.parametrize("torn", [b"", b'{"row": 7', b"x" * 200_000])
def test_a_torn_end_of_a_journal_is_cut_off_however_long(tmp_path: Path, torn: bytes) -> None:
    shapes = Shapes(4, (1, 2, 2, 3), (2, 2), np.dtype(np.float16))
    with PartialStore(tmp_path / "partial", "plan", shapes) as partial:
        partial.finish(Finished(1))
        partial.commit()
        with partial.journal.open("ab") as file:
            file.write(torn)
    with PartialStore(tmp_path / "partial", "plan", shapes) as partial:
        assert list(JournalResults(partial.journal, 4)) == [1]
        assert partial.journal.read_bytes().endswith(b"}\n")
