"""What is kept and what goes, by age, number and bytes: the oldest goes first, and never what is in use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Retention:
    """How much of something is kept; None: any age, number, or size."""

    max_age_s: float | None = None
    max_number: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True)
class Item:
    """Something that is kept."""

    key: str
    age_s: float
    num_bytes: int = 0
    in_use: bool = False
    """It may not go, and counts all the same."""


@dataclass(frozen=True)
class Freed:
    """What was deleted."""

    number: int = 0
    num_bytes: int = 0

    def __add__(self, other: Self) -> Freed:
        return Freed(self.number + other.number, self.num_bytes + other.num_bytes)


def surplus(items: Iterable[Item], retention: Retention) -> list[Item]:
    """Returns what must go, the oldest first: all that is too old, then as much as number and bytes ask for."""
    oldest_first = sorted(items, key=lambda item: (-item.age_s, item.key))  # ids rise with time
    number, num_bytes = len(oldest_first), sum(item.num_bytes for item in oldest_first)
    gone = []
    for item in oldest_first:
        too_old = retention.max_age_s is not None and item.age_s > retention.max_age_s
        too_many = retention.max_number is not None and number > retention.max_number
        too_large = retention.max_bytes is not None and num_bytes > retention.max_bytes
        if not item.in_use and (too_old or too_many or too_large):
            gone.append(item)
            number -= 1
            num_bytes -= item.num_bytes
    return gone
