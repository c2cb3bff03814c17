"""What an epoch costs beside training: gaps, mixtures, histogram, Parquet, checkpoint, journal."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from tests.bench.figure import Figure
from worker.contract.journal import Journal
from worker.contract.layout import RunFolder
from worker.contract.spec import PRESETS, AvDigits
from worker.datasets.prepare import prepare
from worker.datasets.store import PreparedStore
from worker.engine.assembly import assemble
from worker.engine.evaluate import sample_columns, split_mixtures, split_report
from worker.engine.resolve import resolve
from worker.engine.rows import RowTable
from worker.engine.steps import EpochDone, PhaseChanged
from worker.engine.train import Trainer
from worker.runtime.sinks import RunSink
from worker.runtime.tables import SampleFiles

NUM_EPOCHS = 6


def measure() -> list[Figure]:
    """Returns the share of the demo's time, and the seconds for large splits."""
    with tempfile.TemporaryDirectory() as folder:
        share, milliseconds = _demo_share(Path(folder))
        figures = [
            Figure("analysis and saving, share of the demo's training time", f"{share:.1%}", "5 %", share <= 0.05),
            Figure("analysis and saving of one epoch of the demo", f"{milliseconds:.0f} ms"),
        ]
        seconds = {size: _large_split(Path(folder), size) for size in (10_000, 100_000, 1_000_000)}
    for size, taken in seconds.items():
        target = ("1 s", taken < 1.0) if size == 100_000 else ()
        figures.append(Figure(f"{size:,} samples: analysis and Parquet", f"{taken:.2f} s", *target))
    return figures


def _demo_share(folder: Path) -> tuple[float, float]:
    """Returns (analysing + saving) / (training + evaluating) over some epochs of the demo, and its ms an epoch."""
    spec = PRESETS[0].spec.model_copy(update={"epochs": NUM_EPOCHS})
    prepare(AvDigits(), folder / "data", num_processes=2)
    store = PreparedStore.open(folder / "data" / "store")
    resolved = resolve(spec, dataset_id="bench", store_digest=store.digest, preprocess=store.spec)
    run = RunFolder(folder / "run")
    for path in (run.path, run.samples, run.checkpoints):
        path.mkdir()
    journal = Journal.open(run, run_id="bench", token=1, attempt=1, ledger=None)
    sink = RunSink(run, journal, SampleFiles(run, store))
    spent = {"work": 0.0, "analysis": 0.0}
    kind, since = "work", time.perf_counter()
    for step in Trainer(assemble(spec, resolved, store)).run():
        if isinstance(step, EpochDone):
            sink.epoch_done(step)
        now = time.perf_counter()
        spent[kind] += now - since
        since = now
        if isinstance(step, PhaseChanged):
            kind = "analysis" if step.phase in ("analysing", "saving") else "work"
    journal.close()
    return spent["analysis"] / spent["work"], spent["analysis"] / NUM_EPOCHS * 1e3


def _large_split(folder: Path, size: int) -> float:
    """Returns the seconds for one split of `size` samples: gaps to report, table, trajectories."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, size)
    one_hot = np.eye(10, dtype=np.float32)[labels]
    logits = tuple(
        torch.from_numpy(generator.normal(size=(size, 10)).astype(np.float32) + strength * one_hot)
        for strength in (4.0, 1.0, 3.0)
    )
    names = SimpleNamespace(
        classes=[str(k) for k in range(10)],
        sample_ids=[f"clip-{k}" for k in range(size)],
        labels=labels,
        splits=lambda: ["train"] * size,
    )
    run = RunFolder(folder / f"run-{size}")
    run.path.mkdir()
    files, rows = SampleFiles(run, names), np.arange(size)
    started = time.perf_counter()
    table = RowTable(size, torch.device("cpu"))
    table.write(torch.from_numpy(rows), (logits[0], logits[1], logits[2]), torch.from_numpy(labels))
    columns = table.numpy(rows)
    mixtures = split_mixtures(columns["gap"], seed=0, previous=None, where="bench")
    split_report(columns, labels, 10, source="head", mixtures=mixtures)
    sample = sample_columns(columns, labels, mixtures.paper.parameters)
    files.write_epoch(1, rows, sample, sample["gap"], sample["posterior_imbalanced"])
    return time.perf_counter() - started
