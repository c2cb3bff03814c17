"""Epochs as training commits them, of a size and content that follow from their number: no torch, no training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from worker.contract.events import EpochFinished, parse_event
from worker.contract.journal import Journal, read_events
from worker.contract.layout import SAMPLE_COLUMNS, RunFolder
from worker.engine import checkpoint
from worker.engine.steps import EpochDone, Snapshot
from worker.runtime.sinks import RunSink, committed_event, drop_partials
from worker.runtime.tables import SampleFiles

GOLDEN = Path(__file__).parents[1] / "golden" / "events" / "epoch_finished.json"
NUM_SAMPLES = 400
RUN = "run-1"
EPOCHS = 4
VOLATILE = {"time", "attempt"}


class Store:
    """What the tables need of a store."""

    classes = ("cat", "dog")
    sample_ids = tuple(f"s{index:04d}" for index in range(NUM_SAMPLES))
    labels = np.arange(NUM_SAMPLES) % 2

    def splits(self) -> list[str]:
        return ["train"] * NUM_SAMPLES


def epoch_done(epoch: int) -> EpochDone:
    """Returns what the loop yields at the end of an epoch."""
    rng = np.random.default_rng(epoch)
    event = parse_event(GOLDEN.read_bytes())
    assert isinstance(event, EpochFinished)
    event = event.model_copy(update={"seq": 0, "run_id": "", "attempt": 0, "time": None, "epoch": epoch})
    columns: dict[str, Any] = {}
    for name, kind in SAMPLE_COLUMNS.items():
        if name not in ("sample_id", "split", "label"):
            drawn = rng.random(NUM_SAMPLES).astype(np.float32)
            columns[name] = drawn if kind == "float32" else drawn > 0.5
            columns[name] = columns[name].astype(np.int32) if kind == "dictionary" else columns[name]
    weights = torch.from_numpy(rng.random(30_000).astype(np.float32))
    record: dict[str, object] = {"event": event.model_dump(mode="json"), "chosen": {"epoch": 1}}
    snapshot = Snapshot(epoch, 0, {"weights": weights}, record)
    return EpochDone(event, columns, np.arange(NUM_SAMPLES), columns["gap"], columns["posterior_imbalanced"], snapshot)


def attempt(folder: RunFolder, epochs: int, number: int = 1) -> None:
    """Does what an attempt at a run does: takes the lock, recovers, and goes on after the newest checkpoint."""
    journal = Journal.open(folder, run_id=RUN, token=number, attempt=number, ledger=None)
    try:
        drop_partials(folder)
        snapshot = checkpoint.newest(folder.checkpoints)
        journal.recover(committed_event(snapshot))
        sink = RunSink(folder, journal, SampleFiles(folder, Store()))
        for epoch in range(1 if snapshot is None else snapshot.epoch + 1, epochs + 1):
            sink.epoch_done(epoch_done(epoch))
    finally:
        journal.close()


def content(folder: RunFolder) -> dict[str, bytes]:
    """Returns what stands in every file of a run but the lock: of events without the time and the attempt."""
    found = {}
    for path in sorted(folder.path.rglob("*")):
        if path.is_file() and path != folder.lock:
            found[str(path.relative_to(folder.path))] = _content_of(path)
    return found


def _content_of(path: Path) -> bytes:
    if path.suffix == ".safetensors":  # it writes its header in any order
        snapshot = checkpoint.load(path)
        tensors = b"".join(snapshot.tensors[name].numpy().tobytes() for name in sorted(snapshot.tensors))
        return json.dumps(snapshot.record, sort_keys=True).encode() + tensors
    if path.suffix == ".jsonl":
        events = [event.model_dump(mode="json", exclude=VOLATILE) for event in read_events(path)]
        return json.dumps(events, sort_keys=True).encode()
    return path.read_bytes()
