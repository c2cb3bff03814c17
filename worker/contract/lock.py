"""The lock on a job's folder: at most one process writes there, whatever Redis says.

The holder keeps `flock` on the lock file for life and writes there who it is. The kernel releases the lock with the
last process that has it open, so a dead holder never blocks; one that lives although its job was given away is killed
by its successor, if it runs on the same host.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import signal
import socket
import time
from pathlib import Path
from typing import Self

import psutil
from pydantic import ValidationError

from worker.contract.errors import ConflictError, LostLeaseError
from worker.contract.events import Record

WAIT_S = 10.0
_POLL_S = 0.05


class FolderBusyError(ConflictError):
    """Another process writes to the folder and cannot be ended from here."""

    default_code = "folder-busy"


class LockHolder(Record):
    """Who holds a folder's lock: the content of the lock file."""

    pid: int
    start_time: int
    host: str
    token: int


class FolderLock:
    """An exclusive lock on a folder, held until `release` or the end of the process."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, path: Path, *, token: int, wait_s: float = WAIT_S) -> Self:
        """Returns the lock; waits for its holder, then kills it if it runs on this host.

        Args:
            path: the lock file.
            token: the ledger's token of the job; a holder with a higher one came after this claim.
            wait_s: how long the holder is given to leave by itself.

        Raises:
            LostLeaseError: when the folder was locked under a higher token already.
            FolderBusyError: when the holder runs on another host, or would not die.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _locked_within(descriptor, wait_s):
                _refuse_stale(path, token)
                _kill_holder(path)
                if not _locked_within(descriptor, 5.0):
                    raise FolderBusyError(f"{path} is still locked although its holder was killed.")
            _refuse_stale(path, token)
            me = LockHolder(pid=os.getpid(), start_time=start_time(os.getpid()), host=host_name(), token=token)
            text = me.model_dump_json().encode()
            os.pwrite(descriptor, text, 0)
            os.ftruncate(descriptor, len(text))
            os.fsync(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def release(self) -> None:
        """Lets the folder go; may be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def read_holder(path: Path) -> LockHolder | None:
    """Returns who holds, or last held, the lock of a folder; None when nobody ever did or the file is torn."""
    try:
        return LockHolder.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def start_time(pid: int) -> int:
    """Returns when a process started, in a unit that no change of the clock moves; 0 when there is none."""
    try:
        if platform.system() == "Linux":
            # Field 22 of stat, in ticks since boot; the name before it may hold spaces and parentheses.
            return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        return int(psutil.Process(pid).create_time())
    except (OSError, psutil.NoSuchProcess):
        return 0


def host_name() -> str:
    """Returns this host's name and, on Linux, its boot and process namespace: where a pid means the same process."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text()[:8])
        parts.append(os.readlink("/proc/self/ns/pid").strip("pid:[]"))
    return "/".join(parts)


def _locked_within(descriptor: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)


def _refuse_stale(path: Path, token: int) -> None:
    holder = read_holder(path)
    if holder is not None and holder.token > token:
        raise LostLeaseError(f"{path} was locked by a later claim (token {holder.token}; this one has {token}).")


def _kill_holder(path: Path) -> None:
    """Kills the recorded process with its group, or what is left of that group and still has the lock open."""
    holder = read_holder(path)
    if holder is None or holder.host != host_name():
        who = "an unknown process" if holder is None else f"process {holder.pid} on {holder.host}"
        raise FolderBusyError(f"{path} is locked by {who}, which this host cannot end.")
    if holder.pid == os.getpid():
        raise FolderBusyError(f"{path} is locked by this process already.")
    members = _members(holder.pid)
    if start_time(holder.pid) == holder.start_time:
        members.append(psutil.Process(holder.pid))
    for process in members:
        if process.pid == holder.pid or _has_open(process.pid, path):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


def _members(group: int) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == group and process.pid != group:
                members.append(process)
    return members


def _has_open(pid: int, path: Path) -> bool:
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    for link in links:
        with contextlib.suppress(OSError):
            if link.samefile(path):
                return True
    return False
