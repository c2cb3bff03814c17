"""Files on their way to the API, with progress."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from worker.contract.errors import InvalidRequestError

OnUpload = Callable[[int, int], None]
"""Called with the bytes that were sent and all bytes."""


class CountedReader(io.RawIOBase):
    """A file that tells how much of it was read; httpx reads it in small pieces while it sends them."""

    def __init__(self, file: BinaryIO, count: Callable[[int], None]) -> None:
        """Reads `file` and calls `count` with the size of each piece."""
        super().__init__()
        self._file = file
        self._count = count

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes."""
        data = self._file.read(size)
        self._count(len(data))
        return data

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True: httpx learns the length by seeking."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves in the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Returns where in the file we are."""
        return self._file.tell()


@contextmanager
def opened(paths: dict[str, Path], on_upload: OnUpload | None) -> Iterator[dict[str, tuple[str, CountedReader, str]]]:
    """Yields files as parts of a multipart form.

    Args:
        paths: name of the field -> file.
        on_upload: told of the progress over all files.

    Raises:
        InvalidRequestError: when a file cannot be read.
    """
    sent, total = 0, 0

    def count(size: int) -> None:
        nonlocal sent
        sent += size
        if on_upload is not None and size:
            on_upload(min(sent, total), total)

    with ExitStack() as stack:
        parts = {}
        for field, path in paths.items():
            try:
                file = stack.enter_context(path.open("rb"))
                total += path.stat().st_size
            except OSError as error:
                raise InvalidRequestError(
                    f"Expected a clip that can be read, but {path} cannot be opened: {error.strerror}. Check the path.",
                    code="file-not-readable",
                ) from error
            parts[field] = (path.name, CountedReader(file, count), "application/octet-stream")
        yield parts
