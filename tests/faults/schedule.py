"""What is done to which process when, drawn from a seed: the same seed draws the same faults."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

VICTIMS: Final = ("child", "supervisor", "worker-train", "backend", "ui", "server")
DEEDS: Final = ("kill", "kill", "term", "stop")
STOP_S: Final = 8.0
"""Longer than a lease (6 s)."""
LATEST_S: Final = 8.0


@dataclass(frozen=True)
class Fault:
    """One deed: `kill` (SIGKILL), `term` (SIGTERM), `stop` (SIGSTOP, and SIGCONT later), `empty` (Redis loses all)."""

    after_s: float
    """Since the fault before it, or since the launch."""
    victim: str
    deed: str

    def __str__(self) -> str:
        """Returns the fault as one can read it."""
        return f"after {self.after_s:.2f} s {self.deed} {self.victim}"


def faults(seed: int, number: int) -> tuple[Fault, ...]:
    """Returns the faults of one run, 1 to 3.

    Args:
        seed: of the whole series.
        number: of the run in it.
    """
    chance = random.Random(f"{seed} {number}")
    drawn = []
    for _ in range(chance.choice((1, 1, 2, 3))):
        victim, deed = chance.choice(VICTIMS), chance.choice(DEEDS)
        if victim == "server" and chance.random() < 0.4:
            deed = "empty"
        if deed == "stop" and victim in ("ui", "server"):
            deed = "kill"  # stopped ones are killed by the stack's own watch
        drawn.append(Fault(round(chance.uniform(0.0, LATEST_S / 2), 2), victim, deed))
    return tuple(drawn)
