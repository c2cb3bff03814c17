"""Data roots: the folders under which data may lie that people name, where the server's owner has set such."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def is_within(path: str | Path, roots: Sequence[Path]) -> bool:
    """Returns whether a path lies under one of the roots, links followed; everything does where there are none."""
    if not roots:
        return True
    real = os.path.realpath(path)
    return any(os.path.commonpath((real, top)) == top for top in map(os.path.realpath, roots))


_PATH_FIELD = re.compile(r"(\A|[._])(path|root)\Z")
"""A relative path there would be read from wherever a process happens to run."""


def named_paths(document: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Yields the paths in a spec: what its fields call one, each absolute one, and each that climbs out of its folder.

    Args:
        document: a part of a spec, as JSON has it.
        field: its dotted name.

    Yields:
        Dotted name and path.
    """
    if isinstance(document, dict):
        for name, value in document.items():
            yield from named_paths(value, f"{field}.{name}" if field else name)
    elif isinstance(document, list):
        for position, value in enumerate(document):
            yield from named_paths(value, f"{field}.{position}")
    elif isinstance(document, str) and (
        document.startswith("/") or ".." in document.split("/") or _PATH_FIELD.search(field)
    ):
        yield field, document
