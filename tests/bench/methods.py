"""What an epoch of every method costs, in processor time against multi-head's, interleaved; with its passes.

The small CNN pair on av-digits, one thread, SGD; the first epoch in which the method acts, planning included,
evaluation at its end not. Processor time, not wall time: other work on the machine moves it less.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.figure import Figure
from tests.worker.objectives.harness import ACTIVE, ACTS_FROM, SOURCES, source_fields, source_id
from worker.contract.events import Cost
from worker.contract.spec import AvDigits, RunSpec, Sgd
from worker.contract.spec.objectives import ObjectiveSpec
from worker.contract.spec.registry import OBJECTIVES
from worker.datasets.prepare import prepare
from worker.datasets.store import PreparedStore
from worker.engine.assembly import assemble
from worker.engine.resolve import resolve
from worker.engine.sources import EarlierRun
from worker.engine.steps import EpochDone, PhaseChanged
from worker.engine.train import Trainer

DATASET = AvDigits(num_train=300, num_validation=50, num_test=50)
NUM_ROUNDS = 3
TARGET = 1.15
BASELINE = "multi-head"


def measure() -> list[Figure]:
    """Returns each method's ratio to multi-head, the median over rounds."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(DATASET, Path(folder), num_processes=2)
        store = PreparedStore.open(Path(folder) / "store")
        earlier = {kind: _earlier(store, kind, spec) for kind, spec in SOURCES.items()}
        ratios: dict[str, list[float]] = {kind: [] for kind in OBJECTIVES}
        costs: dict[str, Cost] = {}
        for _ in range(NUM_ROUNDS):
            base, base_cost = _epoch(store, BASELINE, earlier)
            for kind in OBJECTIVES:
                seconds, costs[kind] = _epoch(store, kind, earlier)
                ratios[kind].append(seconds / base)
    return [_figure(kind, statistics.median(found), costs[kind], base_cost) for kind, found in ratios.items()]


def _figure(kind: str, ratio: float, cost: Cost, base: Cost) -> Figure:
    passes = f"{cost.forward_passes / base.forward_passes:.1f} forward, "
    passes += f"{cost.backward_passes / base.backward_passes:.1f} backward"
    more = cost.forward_passes > base.forward_passes or cost.backward_passes > base.backward_passes
    words = f"{ratio:.2f} x {BASELINE}; passes {passes}"
    return Figure(kind, words) if more else Figure(kind, words, f"{TARGET}", ratio <= TARGET)


def _spec(objective: ObjectiveSpec, **fields: Any) -> RunSpec:
    return RunSpec(
        dataset=DATASET, objective=objective, optimizer=Sgd(), epochs=3, batch_size=50, precision="fp32", threads=1,
        device="cpu", **fields,
    )  # fmt: skip


def _trainer(store: PreparedStore, spec: RunSpec, sources: dict[str, EarlierRun]) -> Trainer:
    resolved = resolve(spec, dataset_id="bench", store_digest=store.digest, preprocess=store.spec)
    return Trainer(assemble(spec, resolved, store, sources))


def _earlier(store: PreparedStore, kind: str, objective: ObjectiveSpec) -> EarlierRun:
    epochs = [step for step in _trainer(store, _spec(objective), {}).run() if isinstance(step, EpochDone)]
    return EarlierRun(source_id(kind), epochs[-1].snapshot, [epoch.event for epoch in epochs])


def _epoch(store: PreparedStore, kind: str, earlier: dict[str, EarlierRun]) -> tuple[float, Cost]:
    """Returns the processor seconds of the first epoch in which a method acts, and what it took."""
    named = source_fields(OBJECTIVES[kind])
    ids = {name: source_id(source) for name, source in named.items()}
    objective = OBJECTIVES[kind](**{**ACTIVE.get(kind, {}), **ids})
    trainer = _trainer(store, _spec(objective), {name: earlier[source] for name, source in named.items()})
    acts_from, started, seconds = ACTS_FROM.get(kind, 1), time.process_time(), 0.0
    for step in trainer.run():
        if isinstance(step, PhaseChanged) and step.phase == "evaluating" and step.epoch == acts_from:
            seconds = time.process_time() - started
        if isinstance(step, EpochDone):
            if step.event.epoch == acts_from:
                assert step.event.cost is not None
                return seconds, step.event.cost
            started = time.process_time()
    raise AssertionError(f"{kind} never came to epoch {acts_from}")
