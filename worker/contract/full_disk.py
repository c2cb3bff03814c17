"""Whether an error means that the disk takes no more: a full one, a quota, or a limit on the size of files."""

from __future__ import annotations

import errno
from typing import Final

FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: BaseException) -> bool:
    """Returns whether an error, or one that it came from, means that the disk takes no more.

    It is no fault of the job's: it goes on once a person has made room.

    Args:
        error: as it was caught.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in FULL_ERRNOS:
            return True
        seen = seen.__cause__
    return False


def torn_write(path: object) -> OSError:
    """Returns the error of a write that took a part of its bytes alone: a full disk says so only at the next one.

    Args:
        path: of the file.
    """
    return OSError(errno.ENOSPC, "could not be written in one piece; is the disk full?", str(path))
