"""How a child process begins and ends, whatever its job: arguments, log, pulse, exit codes.

This module must not know runs or datasets, nor load torch.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Protocol

from worker.contract.errors import LostLeaseError
from worker.contract.full_disk import is_full
from worker.contract.lock import FolderBusyError
from worker.contract.settings import Settings, load_settings
from worker.runtime import exits
from worker.runtime.arguments import ChildArguments
from worker.runtime.lifetime import StopRequest
from worker.runtime.pulse import PulseWriter


class Attempt(Protocol):
    """One attempt at a job."""

    def run(self) -> int:
        """Works to the end, or until asked to leave, and returns the exit code."""


def run_attempt(
    argv: list[str],
    what: str,
    log: logging.Logger,
    begin: Callable[[ChildArguments, Settings, StopRequest, PulseWriter], Attempt],
) -> int:
    """Returns the exit code of one attempt at a job.

    Args:
        argv: what the supervisor passed.
        what: "run" or "dataset", for the log.
        log: of the child.
        begin: takes the job's lock and returns the attempt.
    """
    arguments = ChildArguments.parse(argv)
    settings = load_settings()
    stop = StopRequest.install(arguments.parent, settings.cancel_grace_s)
    pulse = PulseWriter(arguments.pulse_fd)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    log.info("%s %s, attempt %d, process %d", what, arguments.job_id, arguments.attempt, os.getpid())
    try:
        return begin(arguments, settings, stop, pulse).run()
    except LostLeaseError as error:
        log.error("%s", error.detail)
        return exits.LOST
    except FolderBusyError as error:
        log.error("%s", error.detail)
        pulse.reason(error.detail)
        return exits.BUSY
    except Exception as error:
        log.exception("this attempt ends; the %s goes on later", what)
        pulse.reason(f"{type(error).__name__}: {error}")
        return exits.FULL if is_full(error) else exits.AGAIN
