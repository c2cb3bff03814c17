"""How a child process lives and ends: with its parent, at SIGTERM, and showing its stacks when asked."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_LOOK_S = 1.0


class StopRequest:
    """Set by SIGTERM, or by the death of the parent: leave at the next good moment."""

    def __init__(self, grace_s: float) -> None:
        self._asked = threading.Event()
        self._grace_s = grace_s
        self._parent = os.getppid()

    @property
    def asked(self) -> bool:
        """Whether this process was asked to leave."""
        return self._asked.is_set()

    @property
    def orphaned(self) -> bool:
        """Whether the parent is gone."""
        return os.getppid() != self._parent

    @classmethod
    def install(cls, parent: int, grace_s: float) -> StopRequest:
        """Returns the request of this process; signals and the death of the parent set it.

        Args:
            parent: the process id of whoever started this one.
            grace_s: how long a process whose parent is gone may go on.
        """
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        request = cls(grace_s)
        request._parent = parent
        signal.signal(signal.SIGTERM, lambda *_: request._asked.set())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if sys.platform == "linux":
            # SIGTERM, not SIGKILL: an orphan may still save its step. The watch below ends one that does not.
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        threading.Thread(target=request._watch_parent, name="parent-watch", daemon=True).start()
        return request

    def _watch_parent(self) -> None:
        while os.getppid() == self._parent:
            time.sleep(_LOOK_S)
        self._asked.set()
        time.sleep(self._grace_s)
        with contextlib.suppress(OSError):
            os.write(2, b"the parent is gone and the grace is over\n")
        os._exit(1)


def exit_at_once(status: int) -> NoReturn:
    """Ends the process without taking torch apart, which takes seconds: all that matters is on the disk by now."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
