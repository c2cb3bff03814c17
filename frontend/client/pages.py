"""Pages of lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items of a list, the cursor of the next page (None at the end), and how many there are in all if known."""

    items: list[T]
    next: str | None
    total: int | None = None

    def __iter__(self) -> Iterator[T]:
        """Goes over this page's items."""
        return iter(self.items)

    def __len__(self) -> int:
        """Returns the number of items of this page."""
        return len(self.items)
