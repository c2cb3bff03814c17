"""The lock on a home: one stack at a time serves it.

The lock is a flock, so it ends with the process that holds it, however that ends; the file's content only names the
holder for people.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from backend.stack.errors import HomeTakenError, StackError


class HomeLock:
    """An exclusive lock on a home, held until it is closed or the process ends."""

    def __init__(self, home: Path) -> None:
        """Takes nothing yet.

        Args:
            home: the home; must exist.
        """
        self._home = home
        self._path = home / "stack.lock"
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Takes the lock.

        Raises:
            HomeTakenError: when another process holds it.
            StackError: when the file cannot be opened.
        """
        try:
            # Not inherited (PEP 446): a child that outlives us must not hold the home.
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackError(
                f"The home must be writable, but {self._path} cannot be opened ({error.strerror}). "
                "Choose another folder with --home, or give this user the right to write.",
                code="home-not-writable",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise HomeTakenError(self._taken_message()) from None
        except OSError as error:
            os.close(descriptor)
            raise StackError(
                f"The home needs a file system with working locks, but flock on {self._path} failed "
                f"({error.strerror}). Choose a home on a local disk or on NFS v4 with --home.",
                code="home-without-locks",
            ) from error
        self._descriptor = descriptor
        self.name_holder()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the lock back."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def name_holder(self, **addresses: str) -> None:
        """Writes into the lock file who holds it, and where it answers."""
        assert self._descriptor is not None
        text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), **addresses}).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)

    def _taken_message(self) -> str:
        holder: dict[str, Any] = {}
        try:
            holder = dict(json.loads(self._path.read_text()))
        except (OSError, ValueError):
            holder = {}  # its holder is just writing it
        pid, host = holder.get("pid", "unknown"), holder.get("host")
        elsewhere = f" on {host}" if host and host != socket.gethostname() else ""
        address = f" and answers at {holder['ui_url']} (API {holder['api_url']})" if "ui_url" in holder else ""
        return (
            f"The home {self._home} should be free, but process {pid}{elsewhere} serves it already{address}. "
            f"Use that one, stop it with Ctrl-C or `kill {pid}`, or choose another folder with --home."
        )


def is_locked(home: Path) -> bool:
    """Returns whether a stack serves the home now."""
    return is_held(home / "stack.lock")


def is_held(lock: Path) -> bool:
    """Returns whether a process holds a lock file; none does where there is no such file."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
