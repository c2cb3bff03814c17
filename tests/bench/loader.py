"""The data path of training: opening a store of a million clips, and the loader against what training consumes.

ResNet-18 pair at 224, three frames and a spectrogram; loader and training steps interleaved, one thread each.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tests.bench.big_store import big_store
from tests.bench.figure import Figure
from worker.contract.spec import AugmentSpec, PreprocessSpec, ResNet18, RunSpec
from worker.datasets.store import PreparedStore
from worker.engine.batches import Batch, BatchSource, grouped
from worker.engine.building import build_model
from worker.media.preprocess import Preprocessor

SMALL = PreprocessSpec(num_frames=1, frame_size=32, crop_size=32)
LARGE = PreprocessSpec(num_frames=3, frame_size=256, crop_size=224, num_mels=128)
NUM_CLIPS = 256
"""Of the loader's store: it stays in the page cache, as a corpus does that fits into memory."""
BATCH_SIZE = 16
REPEATS = 5
HOST_PART = "host"
CHOICES = {
    "place": AugmentSpec(),
    "place, flip, SpecAugment 2 + 2": AugmentSpec(horizontal_flip=True, num_frequency_masks=2, num_time_masks=2),
    "resized, flip": AugmentSpec(crop="resized", horizontal_flip=True, time_shift=False),
}


def measure() -> list[Figure]:
    """Returns times of opening and ratios of loader to training."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="gapscope-bench-") as folder:
        return [*_opening(Path(folder) / "large"), *_loading(Path(folder) / "loaded")]


def _opening(folder: Path) -> list[Figure]:
    big_store(folder, 1_000_000, SMALL)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        store = PreparedStore.open(folder)
        assert len(store.labels) == len(store.sample_ids) == 1_000_000
        assert len(store.indices("train")) == 600_000
        store.batch(np.random.default_rng(0).integers(0, 1_000_000, 64))
        seconds.append(time.perf_counter() - started)
    worst = max(seconds)
    return [
        Figure("1,000,000 clips: open, labels, ids, splits, first batch, worst", f"{worst:.2f} s", "1 s", worst < 1.0)
    ]


def _loading(folder: Path) -> list[Figure]:
    store = big_store(folder, NUM_CLIPS, LARGE)
    frames = np.random.default_rng(0).integers(0, 256, LARGE.num_frames * LARGE.frame_size**2 * 3, np.uint8).tobytes()
    with (folder / "frames.u8").open("r+b") as file:
        file.write(frames * NUM_CLIPS)
    step = _training_step()
    rows = np.random.default_rng(1).permutation(NUM_CLIPS)
    loaders = {
        name: BatchSource(store, Preprocessor(LARGE), seed=0, augment=choice, device=torch.device("cpu"))
        for name, choice in CHOICES.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in ("training", HOST_PART, *loaders)}
    batch = next(loaders["place"].stream(grouped(rows[:BATCH_SIZE], BATCH_SIZE), epoch=1))
    step(batch)
    for epoch in range(1, REPEATS + 1):
        seconds["training"].append(_timed(lambda: step(batch)) / BATCH_SIZE)
        seconds[HOST_PART].append(_timed(lambda: _host_part(store, rows, epoch)) / NUM_CLIPS)  # noqa: B023
        for name, loader in loaders.items():
            groups = grouped(rows, 64)
            seconds[name].append(_timed(lambda: _drain(loader, groups, epoch)) / NUM_CLIPS)  # noqa: B023
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    figures = [Figure("training step, ResNet-18 pair, 3 x 224", f"{1 / medians['training']:.1f} clips/s")]
    host = f"{1 / medians[HOST_PART]:,.0f} clips/s"
    figures.append(Figure("what a GPU leaves to the processor: read, crop, shift; one thread", host))
    for name in loaders:
        ratio = medians["training"] / medians[name]
        shown = f"{1 / medians[name]:,.0f} clips/s, {ratio:.0f} x training"
        figures.append(Figure(f"loader alone, {name}", shown, "5 x", ratio >= 5))
    return figures


def _training_step() -> Callable[[Batch], None]:
    spec = RunSpec.model_validate({"dataset": {"kind": "av-digits"}, "encoder": ResNet18().model_dump()})
    model = build_model(spec, 10).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        logits = model.classify(model.encode(batch.audio, batch.frames)).fused_logits
        torch.nn.functional.cross_entropy(logits, batch.labels).backward()
        optimizer.step()

    return step


def _host_part(store: PreparedStore, rows: np.ndarray, epoch: int) -> None:
    preprocessor = Preprocessor(LARGE)
    for group in grouped(rows, 64):
        frames, audio = store.batch(group)
        preprocessor.augmented(frames, audio, [store.sample_ids[row] for row in group], seed=0, epoch=epoch)


def _drain(loader: BatchSource, groups: list[np.ndarray], epoch: int) -> None:
    for _ in loader.stream(groups, epoch=epoch):
        pass


def _timed(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
