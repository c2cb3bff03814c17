"""What can keep the stack of one machine from starting."""

from __future__ import annotations

from worker.contract.errors import ConflictError, UnavailableError


class StackError(UnavailableError):
    """A process of the stack cannot be started, or does not stay up."""

    title = "The stack cannot start"
    default_code = "stack-failed"


class HomeTakenError(ConflictError):
    """Another stack serves this home already."""

    title = "The home is in use"
    default_code = "home-in-use"


class PortTakenError(ConflictError):
    """Another program listens on a port that the stack was told to use."""

    title = "The port is taken"
    default_code = "port-taken"


class DamagedServerFilesError(StackError):
    """The embedded server refuses its own files: something in the middle of them is damaged."""

    title = "The server's files are damaged"
    default_code = "server-files-damaged"
