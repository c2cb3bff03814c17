"""Real processes that train together, for tests: each is a new interpreter, they meet over gloo."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.worker.memory_store import MemoryStore, resolved_spec, run_spec
from worker.engine.assembly import assemble
from worker.engine.steps import EpochDone, RunDone
from worker.engine.train import Trainer
from worker.engine.world import ALONE, World

COUNTS = {"train": 49, "validation": 16, "test": 12}
"""49 training clips in batches of 16: 16, 16 and 17, which two processes cannot halve."""


def store() -> MemoryStore:
    return MemoryStore(COUNTS)


@contextmanager
def double_precision() -> Iterator[None]:
    """New parameters are float64, and what the engine turns to float32 becomes float64.

    In float32 a ReLU near zero or a tie in a pooling falls as the processor's kernels round: on one kind of processor
    two processes differ from one by 1e-6 after three epochs, on another by 1e-4. In float64 they agree on all.
    """
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    try:
        yield
    finally:
        del torch.Tensor.float
        torch.set_default_dtype(usual)


def trained(world: World = ALONE, **fields: Any) -> dict[str, Any]:
    """What a run of some spec shows, computed in float64: weights, events and gaps of each epoch, and the result."""
    resolved = resolved_spec(num_processes=world.size)
    with double_precision():
        assembly = assemble(run_spec(num_processes=world.size, **fields), resolved, store(), world=world)
        for part in assembly.model.encoders.children():
            part.register_forward_pre_hook(lambda _, inputs: tuple(tensor.double() for tensor in inputs))
        steps = list(Trainer(assembly).run())
    epochs = [step for step in steps if isinstance(step, EpochDone)]
    return {
        "events": [epoch.event.model_dump() for epoch in epochs],
        "gaps": np.stack([epoch.gaps for epoch in epochs]),
        "columns": epochs[-1].columns,
        "weights": {
            name: tensor.numpy()
            for name, tensor in epochs[-1].snapshot.tensors.items()
            if name.startswith(("model.", "optimizer."))
        },
        "result": next(step.result.model_dump() for step in steps if isinstance(step, RunDone)),
    }


def in_world(size: int, folder: Path, work: Callable[..., Any], *arguments: Any, timeout_s: float = 500) -> list[Any]:
    """Returns what `work(world, *arguments)` gives in each process, by rank."""
    context = multiprocessing.get_context("spawn")
    processes, ends = [], []
    for rank in range(size):
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(rank, size, folder / "meeting", theirs, work, arguments))
        process.start()
        theirs.close()
        processes.append(process)
        ends.append(mine)
    try:
        return [end.recv() if end.poll(timeout_s) else None for end in ends]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _work(rank: int, size: int, meeting: Path, end: Any, work: Callable[..., Any], arguments: Any) -> None:
    torch.set_num_threads(1)
    world = World.join(rank, size, meeting, torch.device("cpu"))
    end.send(work(world, *arguments))
    world.leave()
