"""The key with which the user of this machine enters a stack that asks for keys: made at its start, ended with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from backend.access.keys import KeyStore
from worker.contract.errors import NotFoundError

NAME: Final = "this machine"
FILE: Final = "local.key"
"""In the home, 0600: who can read it could read everything else there, too. The command line takes it from there."""


@contextlib.contextmanager
def of_this_stack(home: Path, *, wanted: bool) -> Iterator[str | None]:
    """Yields the key's secret, valid until the block ends; None where no key is wanted."""
    keys, path = KeyStore(home), home / FILE
    _end(keys, path)  # of a stack that was killed
    if not wanted:
        yield None
        return
    _, secret = keys.create(NAME, "admin")
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret)
        yield secret
    finally:
        _end(keys, path)


def _end(keys: KeyStore, path: Path) -> None:
    path.unlink(missing_ok=True)
    with contextlib.suppress(NotFoundError):
        keys.revoke(NAME)
