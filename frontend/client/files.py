"""Writing what the API sends into a file that appears once it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def save(chunks: Iterable[bytes], target: Path) -> int:
    """Writes chunks into a file beside and gives it its name at the end; returns its bytes.

    Args:
        chunks: the content.
        target: the file; an older one is replaced.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    written = 0
    try:
        with partial.open("wb") as file:
            for chunk in chunks:
                written += file.write(chunk)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return written
