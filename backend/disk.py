"""Free disk space: new work is refused before the disk is full."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from stat import S_ISREG

from worker.contract.errors import InsufficientStorageError
from worker.contract.settings import MIB, Settings


def accepts_new_work(settings: Settings) -> bool:
    """Returns whether the disk of the home has room for new work."""
    return _missing_bytes(settings) <= 0


def require_space(settings: Settings) -> None:
    """Passes when the disk of the home has room for new work.

    Raises:
        InsufficientStorageError: when it has not.
    """
    missing = _missing_bytes(settings)
    if missing > 0:
        raise InsufficientStorageError(
            f"The disk of {settings.home} is {missing // MIB + 1:,} MiB short of the space that new work needs. "
            "Delete runs with ?purge=true, or lower GAPSCOPE_MIN_FREE_BYTES and GAPSCOPE_MIN_FREE_SHARE."
        )


def needed_free_bytes(settings: Settings) -> int:
    """Returns the free space below which new work is refused."""
    return settings.reserved_bytes(shutil.disk_usage(settings.home).total)


def _missing_bytes(settings: Settings) -> int:
    return needed_free_bytes(settings) - shutil.disk_usage(settings.home).free


def folder_bytes(folder: Path) -> int:
    """Returns the sizes of all files under a folder, added up; a file that vanishes meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
        except OSError:
            continue
    return total


def freeable_bytes(folder: Path) -> int:
    """Returns the disk space that deleting a folder gives: a file that has another name elsewhere gives none."""
    total = 0
    for path in folder.rglob("*"):
        try:
            status = path.lstat()
        except OSError:
            continue
        if S_ISREG(status.st_mode) and status.st_nlink == 1:
            total += status.st_blocks * 512
    return total


def allocated_bytes(folder: Path) -> int:
    """Returns the disk space that the files directly in a folder take: less than their sizes where they have holes."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            total = sum(entry.stat().st_blocks * 512 for entry in entries)
    except OSError:
        return total
    return total
