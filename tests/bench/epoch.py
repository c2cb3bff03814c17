"""A whole epoch of the ResNet-18 pair (training, evaluation, analysis, saving) against its bare arithmetic.

Bare: forward, backward and step on resident tensors at the same batch, precision and memory format, and forward over
the evaluated split at its own best batch. Both are taken in turns, epoch by epoch, on one thread.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from tests.bench.big_store import big_store
from tests.bench.figure import Figure
from worker.contract.journal import Journal
from worker.contract.layout import RunFolder
from worker.contract.spec import DatasetReference, GmmAdaptive, PreprocessSpec, ResNet18, RunSpec
from worker.datasets.store import PreparedStore
from worker.engine.assembly import Assembly, assemble
from worker.engine.batches import Batch, grouped
from worker.engine.resolve import resolve
from worker.engine.steps import EpochDone, PhaseChanged
from worker.engine.train import Trainer
from worker.runtime.sinks import RunSink
from worker.runtime.tables import SampleFiles

SHAPE = PreprocessSpec(num_frames=1, frame_size=256, crop_size=224, num_mels=128)
NUM_CLIPS = 400
"""60 % train, 20 % validation, 20 % test."""
BATCH_SIZE = 16
EVALUATION_BATCHES = (8, 16, 32)
NUM_ROUNDS = 2
TARGET = 0.95
LARGEST_SHARE = 0.02


def measure() -> list[Figure]:
    """Returns the epoch's speed against the bare one, the share of analysis and saving, and the checkpoint's cost."""
    with tempfile.TemporaryDirectory(prefix="gapscope-bench-") as folder:
        big_store(Path(folder) / "store", NUM_CLIPS, SHAPE)
        store = PreparedStore.open(Path(folder) / "store")
        load = os.getloadavg()[0]
        parts = _assembly(store)
        rounds = _rounds(parts, Path(folder) / "run")
        whole, bare, aside, saving = ([each[column] for each in rounds] for column in range(4))
        checkpoint = max((Path(folder) / "run").rglob("*.safetensors"), key=lambda path: path.stat().st_mtime)
        size_mib = checkpoint.stat().st_size / 2**20
    ratio = statistics.median(b / w for w, b in zip(whole, bare, strict=True))
    share = statistics.median(a / w for w, a in zip(whole, aside, strict=True))
    resolved = parts.resolved
    what = f"{resolved.precision}, {resolved.memory_format}, batch {BATCH_SIZE}, load {load:.1f}"
    return [
        Figure(
            f"ResNet-18 pair, epoch end to end, share of the bare speed ({what}; CPU time)",
            f"{ratio:.3f} (epoch {statistics.median(whole):.1f} s, bare {statistics.median(bare):.1f} s)",
            str(TARGET),
            ratio >= TARGET,
        ),
        Figure(
            "analysis, events, Parquet and checkpoint, share of that epoch (CPU time)",
            f"{share:.2%}",
            f"{LARGEST_SHARE:.0%}",
            share <= LARGEST_SHARE,
        ),
        Figure(
            "its checkpoint, written and synced", f"{size_mib:.0f} MiB, {statistics.median(saving):.2f} s by the clock"
        ),
    ]


def _assembly(store: PreparedStore) -> Assembly:
    spec = RunSpec(
        dataset=DatasetReference(id="bench"),
        encoder=ResNet18(),
        objective=GmmAdaptive(warm_up_epochs=0),
        epochs=NUM_ROUNDS + 1,
        batch_size=BATCH_SIZE,
        threads=1,
        device="cpu",
        precision="bf16",
    )
    resolved = resolve(spec, dataset_id="bench", store_digest=store.digest, preprocess=store.spec)
    return assemble(spec, resolved, store)


def _rounds(parts: Assembly, folder: Path) -> list[tuple[float, float, float, float]]:
    """Returns of each round: CPU seconds of the epoch, bare, of analysis and saving; seconds of saving by the clock."""
    run = RunFolder(folder)
    for path in (run.path, run.samples, run.checkpoints):
        path.mkdir()
    journal = Journal.open(run, run_id="bench", token=1, attempt=1, ledger=None)
    sink = RunSink(run, journal, SampleFiles(run, parts.store))
    epochs = _epochs(Trainer(parts), sink)
    bare = Bare(_assembly_again(parts))
    rounds = []
    for number in range(NUM_ROUNDS + 1):
        seconds = bare.epoch()
        whole, aside, saving = next(epochs)
        if number:  # the first warms both up
            rounds.append((whole, seconds, aside, saving))
    journal.close()
    return rounds


def _assembly_again(parts: Assembly) -> Assembly:
    return assemble(parts.spec, parts.resolved, parts.store)


def _epochs(trainer: Trainer, sink: RunSink) -> Iterator[tuple[float, float, float]]:
    """Yields of each epoch: CPU seconds of all of it, of analysing and saving; seconds of saving by the clock."""
    whole = aside = 0.0
    phase, since = "training", time.process_time()
    for step in trainer.run():
        now = time.process_time()
        whole, aside = whole + now - since, aside + (now - since) * (phase in ("analysing", "saving"))
        since = now
        if isinstance(step, PhaseChanged):
            phase = step.phase
        if isinstance(step, EpochDone):
            started = time.perf_counter()
            sink.epoch_done(step)
            saving, now = time.perf_counter() - started, time.process_time()
            yield whole + now - since, aside + now - since, saving
            whole = aside = 0.0
            phase, since = "training", time.process_time()


class Bare:
    """The same arithmetic on resident tensors, without anything around it."""

    def __init__(self, parts: Assembly) -> None:
        """Loads one batch of each kind, and finds the evaluation's best batch."""
        self._parts = parts
        train = parts.store.indices("train")
        self._num_steps = len(grouped(train, BATCH_SIZE))
        self._num_evaluated = len(parts.store.indices("validation"))
        self._batch = self._resident(BATCH_SIZE)
        self._evaluation = min(
            map(self._resident, EVALUATION_BATCHES),
            key=lambda batch: min(_cpu_s(lambda: self._forward(batch)) for _ in range(2)) / len(batch.labels),
        )

    def epoch(self) -> float:
        """Returns the CPU seconds of an epoch's steps and of the forward over its evaluated clips."""
        self._parts.model.train()
        training = sum(_cpu_s(self._step) for _ in range(self._num_steps))
        size = len(self._evaluation.labels)
        return training + _cpu_s(lambda: self._forward(self._evaluation)) * self._num_evaluated / size

    def _resident(self, size: int) -> Batch:
        rows = self._parts.store.indices("train")[:size]
        return next(iter(self._parts.source.stream([rows], epoch=None)))

    def _step(self) -> None:
        output = self._output(self._batch)
        logits = (output.fused_logits, output.audio_logits, output.visual_logits)
        losses = [torch.nn.functional.cross_entropy(values, self._batch.labels) for values in logits]
        torch.stack(losses).sum().backward()
        self._parts.optimizer.step()
        self._parts.optimizer.zero_grad(set_to_none=True)

    def _forward(self, batch: Batch) -> None:
        self._parts.model.eval()
        with torch.no_grad():
            output = self._output(batch)
            _ = (output.fused_logits, output.audio_logits, output.visual_logits)

    def _output(self, batch: Batch):  # type: ignore[no-untyped-def]
        with torch.autocast("cpu", torch.bfloat16, enabled=self._parts.resolved.precision == "bf16"):
            features = self._parts.model.encode(batch.audio, batch.frames)
        return self._parts.model.classify(features)


def _cpu_s(work: Callable[[], None]) -> float:
    """Returns the CPU seconds of some work, which another process's load changes less than the clock's."""
    started = time.process_time()
    work()
    return time.process_time() - started
