"""The command line of a child: `python -m MODULE JOB_ID TOKEN ATTEMPT REASON PULSE_FD PARENT_PID`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ChildArguments:
    """What the supervisor tells a child."""

    job_id: str
    token: int
    attempt: int
    reason: str
    pulse_fd: int
    parent: int

    @classmethod
    def parse(cls, argv: list[str]) -> ChildArguments:
        """Returns the arguments of a command line, without the program's name."""
        job_id, token, attempt, reason, pulse_fd, parent = argv
        return cls(job_id, int(token), int(attempt), reason, int(pulse_fd), int(parent))
