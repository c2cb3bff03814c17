"""A batch that does not fit into the device's memory: which one would, in words that can be acted on.

The batch is never made smaller on its own: it belongs to what a run computes. This module must not know jobs.
"""

from __future__ import annotations

from collections.abc import Callable

import psutil
import torch

from worker.contract.errors import TrainingError
from worker.engine.batches import MIN_BATCH, free_memory
from worker.engine.learner import Place
from worker.engine.train import Trainer

FOREIGN_SHARE = 0.1
"""Of a device's memory: where others hold more, it may be they who left too little, and a later attempt may fit."""
GIB = 2**30


def too_large(trainer: Trainer, alive: Callable[[], None] = lambda: None) -> TrainingError | None:
    """Returns the error that ends a run whose batch does not fit; None where another attempt may fit.

    It trains on parts of the batch that failed, so the trainer cannot be used afterwards.

    Args:
        trainer: that ran out of memory before it finished an epoch.
        alive: called before each try.
    """
    parts = trainer.parts
    free_memory(parts.device)
    if _is_shared(parts.device):
        return None
    size = parts.spec.batch_size
    problem = f"batch_size {size} does not fit into {_total_bytes(parts.device) / GIB:.1f} GiB of {parts.device}"
    if parts.world.size > 1:  # a try would need all processes
        remedy = f"{problem}, shared by {parts.world.size} processes: halve batch_size and double accumulate."
        return TrainingError(remedy, code="out-of-memory")
    step = _Tries(trainer, alive)
    fitting = largest_batch(step.fits, size)
    if fitting is None:
        remedy = "no smaller one was found that does: choose a smaller encoder, shorter clips or fewer frames"
        return TrainingError(f"{problem}, and {remedy}.", code="out-of-memory")
    clips = size * parts.spec.accumulate
    gather = f" (and accumulate to {-(-clips // fitting)} to keep at least {clips} clips a step)"
    if parts.spec.objective.steps_within_batch:
        gather = ""
    remedy = f"{fitting} would: set batch_size to {fitting}{gather}"
    return TrainingError(f"{problem}; {remedy}.", code="out-of-memory")


def largest_batch(fits: Callable[[int], bool], too_many: int) -> int | None:
    """Returns about the largest batch that fits: by halving, then between the last two, to an eighth.

    Args:
        fits: whether a batch of so many clips fits.
        too_many: clips that do not.

    Returns:
        At least MIN_BATCH; None where not even that fits.
    """
    low, high = too_many // 2, too_many
    while low >= MIN_BATCH and not fits(low):
        low, high = low // 2, low
    if low < MIN_BATCH:
        return None
    while high - low > max(1, low // 8):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


class _Tries:
    """Training steps on the first clips of the batch that failed."""

    def __init__(self, trainer: Trainer, alive: Callable[[], None]) -> None:
        self._trainer = trainer
        self._alive = alive
        progress = trainer.state.progress
        assert progress is not None, "memory ran out before the first batch"
        self._epoch = trainer.state.finished + 1
        plan = progress.plan
        visits = trainer.parts.source.visits(plan, self._epoch, trainer.parts.spec.batch_size)
        self._num_steps = len(visits)
        positions = visits[min(progress.step, len(visits) - 1)]
        self._rows = plan.rows[positions]
        self._present = None if plan.present is None else plan.present[positions]

    def fits(self, size: int) -> bool:
        """Returns whether a step on `size` clips fits."""
        self._alive()
        try:
            self._step(size)
        except (torch.OutOfMemoryError, TrainingError):
            # A loss that is not finite shows as little of the memory: better no advice than a wrong one.
            fits = False
        else:
            fits = True
        free_memory(self._trainer.parts.device)
        return fits

    def _step(self, size: int) -> None:
        trainer, progress = self._trainer, self._trainer.state.progress
        assert progress is not None
        trainer.parts.model.train()
        trainer.parts.model.zero_grad(set_to_none=True)
        present = None if self._present is None else self._present[:size]
        for batch in trainer.parts.source.stream([self._rows[:size]], epoch=self._epoch):
            # As the last batch of the epoch: it steps, so that the optimizer's state is made too.
            place = Place(self._epoch, self._num_steps - 1, self._num_steps)
            trainer.learner.learn(batch, place, progress, present)


def _is_shared(device: torch.device) -> bool:
    """Returns whether other processes hold much of a device's memory."""
    if device.type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info(device)
    return total - free - torch.cuda.memory_reserved(device) > FOREIGN_SHARE * total


def _total_bytes(device: torch.device) -> int:
    """Returns the size of a device's memory."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)
