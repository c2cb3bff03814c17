"""What the processes of a run do after a step: all the same, whoever was asked. Used by a process alone too.

Each calls `agreed` after the same steps; one that did not would leave the others waiting.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.engine.steps import EpochDone, StepDone, TrainingStep
from worker.engine.world import World


@dataclass(frozen=True)
class Verdict:
    """What is done now: write the checkpoint within an epoch, and leave."""

    saves: bool = False
    leaves: bool = False


def agreed(step: TrainingStep, world: World, *, asked: bool, due: bool) -> Verdict:
    """Returns what all processes do after a step.

    Args:
        step: that the trainer yielded, the same in all of them.
        world: the processes.
        asked: whether this one was asked to leave.
        due: whether it wants a checkpoint.
    """
    if not isinstance(step, StepDone | EpochDone):
        return Verdict()
    asked, due = world.any(asked, due)
    if isinstance(step, EpochDone):
        return Verdict(leaves=asked)
    if asked and not step.pending:  # else gradients are gathered that no step was made with: the next step will do
        return Verdict(saves=step.resumable, leaves=True)
    return Verdict(saves=due and step.resumable)
