"""The window of epochs in which a method acts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Epochs from `first` to `last`, both included, from 1; without `last` to the end.

    Source: the public codes count from 0 and include both ends as well.
    """

    first: int
    last: int | None

    def holds(self, epoch: int) -> bool:
        """Returns whether an epoch, from 1, lies in the window."""
        return self.first <= epoch and (self.last is None or epoch <= self.last)
