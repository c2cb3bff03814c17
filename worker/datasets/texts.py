"""A column of texts that stays in Arrow's memory: a million ids cost their letters, not a million Python objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import pyarrow as pa


class Texts(Sequence[str]):
    """N texts, made into Python strings one by one when asked for; `pyarrow.array(texts)` takes them as they are."""

    def __init__(self, column: pa.Array) -> None:
        """Keeps a column of strings without nulls."""
        self._column = column

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        """Returns one text, or some."""
        if isinstance(index, slice):
            return Texts(self._column[index])
        text: str = self._column[int(index)].as_py()
        return text

    def __len__(self) -> int:
        return len(self._column)

    def __iter__(self) -> Iterator[str]:
        yield from self._column.to_pylist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of every list

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:  # the name is pyarrow's
        """Returns the column itself."""
        return self._column if type is None else self._column.cast(type)
