"""A disk that takes no more, by the limit on the size of files: the system's own error at the system's own moment."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    """Lets this process write no file beyond a size while the block lasts.

    Args:
        num_bytes: the limit (RLIMIT_FSIZE); a write across it is cut, the next one fails with EFBIG.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
