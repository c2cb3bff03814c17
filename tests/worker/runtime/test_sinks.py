"""The commit of an epoch: what is there after a crash between any two steps, and which checkpoints stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from worker.contract.errors import TrainingError
from worker.contract.events import MAX_EVENT_BYTES, EpochFinished, RunStarted, parse_event
from worker.contract.journal import Journal, read_events
from worker.contract.layout import RunFolder
from worker.engine import checkpoint
from worker.engine.steps import EpochDone, Snapshot
from worker.runtime.sinks import RunSink, committed_event, drop_partials

GOLDEN = Path(__file__).parents[2] / "golden" / "events" / "epoch_finished.json"


class Tables:
    """Stands for SampleFiles, which has tests of its own."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def write_epoch(self, epoch: int, *_: object) -> None:
        self.epochs.append(epoch)


def done(epoch: int, chosen: int) -> EpochDone:
    event = parse_event(GOLDEN.read_bytes())
    assert isinstance(event, EpochFinished)
    event = event.model_copy(update={"seq": 0, "run_id": "", "attempt": 0, "time": None, "epoch": epoch})
    record: dict[str, object] = {"event": event.model_dump(mode="json"), "chosen": {"epoch": chosen}}
    nothing = np.zeros(0, np.float32)
    snapshot = Snapshot(epoch, 0, {"weight": torch.full((2,), float(epoch))}, record)
    return EpochDone(event, {}, np.zeros(0, np.int64), nothing, nothing, snapshot)


def opened(folder: RunFolder) -> Journal:
    return Journal.open(folder, run_id="r1", token=1, attempt=1, ledger=None)


def epochs_of(folder: RunFolder) -> list[int]:
    return [event.epoch for event in read_events(folder.events) if isinstance(event, EpochFinished)]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def sink_of(folder: RunFolder, journal: Journal) -> tuple[RunSink, Tables]:
    tables: Any = Tables()
    return RunSink(folder, journal, tables), tables


def test_a_crash_after_the_commit_loses_no_event(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(folder)
    sink, _ = sink_of(folder, journal)
    sink.epoch_done(done(1, 1))
    with monkeypatch.context() as crash:
        crash.setattr(Journal, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sink.epoch_done(done(2, 1))
    journal.close()
    assert epochs_of(folder) == [1]
    journal = opened(folder)
    journal.recover(committed_event(checkpoint.newest(folder.checkpoints)))
    assert epochs_of(folder) == [1, 2]
    journal.close()


def test_an_epoch_computed_again_is_not_told_twice(folder: RunFolder) -> None:
    journal = opened(folder)
    sink, tables = sink_of(folder, journal)
    for epoch in (1, 2, 2, 3):  # the checkpoint of epoch 2 was damaged
        sink.epoch_done(done(epoch, 1))
    assert epochs_of(folder) == [1, 2, 3]
    assert tables.epochs == [1, 2, 2, 3]
    journal.close()


def test_the_two_newest_checkpoints_and_the_chosen_one_stay(folder: RunFolder) -> None:
    journal = opened(folder)
    sink, _ = sink_of(folder, journal)
    for epoch in range(1, 6):
        sink.epoch_done(done(epoch, min(epoch, 2)))
        sink.step_done(Snapshot(epoch, 3, {"weight": torch.zeros(1)}, {}))
        assert (folder.checkpoints / checkpoint.STEP_FILE).exists()
    sink.epoch_done(done(6, 2))
    names = sorted(path.name for path in folder.checkpoints.iterdir())
    assert names == [f"epoch-{epoch:05d}.safetensors" for epoch in (2, 5, 6)]
    journal.close()


def test_what_a_killed_process_left_half_written_is_gone_and_what_the_backend_writes_stays(folder: RunFolder) -> None:
    for place in (folder.checkpoints, folder.samples):
        place.mkdir()
    mine = [
        folder.checkpoints / ".epoch-00009.safetensors.1.partial",
        folder.samples / ".epoch-00009.parquet.1.partial",
        folder.path / ".outcome.json.1.partial",
    ]
    labels = folder.path / ".labels.json.2.partial"  # a person changes them at this moment
    for path in (*mine, labels):
        path.touch()
    drop_partials(folder)
    assert [path.exists() for path in mine] == [False] * 3
    assert labels.exists()


def test_a_start_with_very_many_classes_fits_into_an_event(folder: RunFolder) -> None:
    classes = [f"a class with a long name, number {number}" for number in range(5_000)]
    event = RunStarted(epochs=1, num_train=1, num_validation=1, num_test=1, classes=classes, device="cpu")
    journal = opened(folder)
    written = journal.append(event)
    assert isinstance(written, RunStarted)
    assert 100 < len(written.classes) < 5_000
    assert len(written.model_dump_json()) <= MAX_EVENT_BYTES
    few = event.model_copy(update={"classes": ["cat", "dog"]})
    assert journal.fitting(few) is few
    journal.close()


def test_an_epoch_that_cannot_be_told_is_refused_before_it_is_committed(folder: RunFolder) -> None:
    journal = opened(folder)
    sink, tables = sink_of(folder, journal)
    sink.epoch_done(done(1, 1))
    second = done(2, 1)
    mixture = second.event.train.mixture
    assert mixture is not None
    huge = mixture.model_copy(update={"components": mixture.components * 500})
    train = second.event.train.model_copy(update={"mixture": huge})
    with pytest.raises(TrainingError, match="bytes"):
        sink.epoch_done(replace(second, event=second.event.model_copy(update={"train": train})))
    assert (epochs_of(folder), tables.epochs) == ([1], [1])
    assert [path.name for path in folder.checkpoints.iterdir()] == ["epoch-00001.safetensors"]
    journal.close()
