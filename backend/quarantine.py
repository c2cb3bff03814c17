"""What of the home is set apart because it cannot be read: nothing lies on the disk that nobody is told of.

Folders stay where they are. What was mended is brought back at the next start (see backend.rebuild).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from redis.exceptions import RedisError

from backend.folder_faults import (
    FROM_BACKUP,
    KIND_NAMES,
    RIGHTS,
    Fault,
    FolderKind,
    attempt,
    documents_fault,
    entry_fault,
    part_fault,
    record_name,
    roots,
)
from backend.recovery import recover
from worker.contract.layout import Home, is_id
from worker.contract.ledger import Ledger
from worker.contract.resources import DamagedFolder

log = logging.getLogger(__name__)
YOUNG_S = 60.0
"""A folder this new may belong to a launch that is under way."""
REST = 20
"""A look that took t seconds of a processor is good for REST x t: it costs a twentieth of a core at most."""
SHORT_S = 0.1
PATIENCE_S = 2.0
"""How long an asker waits for a look that is under way: the first one at a home of thousands of runs takes seconds."""
FIRST_S, EVERY_S = 3.0, 30.0
BREATH_S = 0.001
"""Between folders that are read: requests come first."""
MAX_CACHED = 20_000
GONE = Fault(Path(), "its folder is gone", "Restore it from a backup, or delete it here.")
UNLISTED = Fault(Path(), "it can be read, but is not listed yet", "Restart Gapscope: it comes back.")
_Stamp = tuple[float, ...]


class Quarantine:
    """The folders of one home that are set apart; remembers what it has seen, and logs each once."""

    def __init__(self, home: Home, ledger: Ledger | None, is_rebuilt: Callable[[], bool] = lambda: True) -> None:
        """Looks at nothing yet.

        Args:
            home: whose folders are looked at.
            ledger: what is listed; None where no server runs: then every folder must be one that can be brought back.
            is_rebuilt: whether the ledger has what the folders have; until then it is no fault not to be listed.
        """
        self._home = home
        self._ledger = ledger
        self._is_rebuilt = is_rebuilt
        self._stopping = False
        self._lock = threading.Lock()
        self._faults: dict[Path, tuple[_Stamp, Fault | None]] = {}
        self._found: list[DamagedFolder] = []
        self._told: set[tuple[str, str]] = set()
        self._next = 0.0

    def found(self) -> list[DamagedFolder]:
        """Returns all folders that are set apart, by kind and name; while a long look goes on, the last answer."""
        if self._lock.acquire(timeout=PATIENCE_S):
            try:
                if time.monotonic() >= self._next:
                    self._look_again()
            finally:
                self._lock.release()
        return self._found

    async def run(self) -> None:
        """Looks at the home now and then, so that the log names what is damaged though nobody opens System."""
        try:
            while True:
                await asyncio.sleep(FIRST_S if not self._next else EVERY_S)
                try:
                    await asyncio.to_thread(self.found)
                except RedisError as error:
                    log.debug("the quarantine waits for Redis: %s", error)
                except Exception:  # it must go on: nobody else would name what is damaged
                    log.exception("a look at the home failed")
        finally:
            self._stopping = True

    def _look_again(self) -> None:
        began = time.thread_time()
        found = list(self._look())
        took = time.thread_time() - began
        self._next = time.monotonic() + (REST * took if took > SHORT_S else 0.0)
        if self._stopping:
            return
        self._found = found
        if self._ledger is not None:
            self._tell()

    def _tell(self) -> None:
        now = {(folder.path, folder.reason) for folder in self._found}
        for folder in self._found:
            if (folder.path, folder.reason) not in self._told:
                log.warning("set apart: %s: %s. %s", folder.path, folder.reason, folder.remedy)
        self._told = now

    def _look(self) -> Iterator[DamagedFolder]:
        if len(self._faults) > MAX_CACHED:
            self._faults.clear()
        for kind, root in roots(self._home).items():
            known = self._known(kind)
            try:
                names = {path.name for path in root.iterdir() if not path.name.startswith(".")}
            except OSError as error:
                reason = f"no folder of {KIND_NAMES[kind]} can be read: {error.strerror or error}"
                yield _shown(kind, "", Fault(root, reason, RIGHTS), is_shown=False)
                continue
            for name in sorted(names | (known or set())):
                if self._stopping:
                    return
                path, listed = root / name, known is not None and name in known
                fault = self._fault(kind, path, listed=listed) if name in names else GONE
                if fault is not None and known is not None and self._is_listed(kind, name) is not listed:
                    continue  # it came or went while we looked
                if fault is not None:
                    hides = fault.path == path or fault.path.name in ("", record_name(kind), "store.json")
                    yield _shown(kind, name, fault, is_shown=not hides and (listed or kind == "subset"), path=path)

    def _known(self, kind: FolderKind) -> set[str] | None:
        return None if kind == "subset" or self._ledger is None else set(self._ledger.ids(kind))

    def _is_listed(self, kind: FolderKind, name: str) -> bool:
        if kind == "subset" or self._ledger is None or not is_id(name):
            return False
        return self._ledger.get(kind, name) is not None

    def _fault(self, kind: FolderKind, path: Path, *, listed: bool) -> Fault | None:
        stamp = (*_stamp(kind, path), listed)
        cached = self._faults.get(path)
        if cached is not None and cached[0] == stamp:
            fault = cached[1]
        else:
            fault = self._read(kind, path, listed=listed)
            time.sleep(BREATH_S)
            self._faults[path] = (stamp, fault)
        if fault is not None or listed or kind == "subset" or self._ledger is None:
            return fault
        is_young = _age_s(path / record_name(kind), path) < YOUNG_S
        return None if is_young or not self._is_rebuilt() else UNLISTED

    def _read(self, kind: FolderKind, path: Path, *, listed: bool) -> Fault | None:
        fault = entry_fault(self._home, kind, path)
        if fault is not None:
            return fault
        if not (path / record_name(kind)).exists():
            young = not listed and _age_s(path) < YOUNG_S
            return None if young else Fault(path, f"it has no {record_name(kind)}", FROM_BACKUP)
        fault = documents_fault(self._home, kind, path.name)
        if fault is None and not listed and kind != "subset":
            found = attempt(path, partial(recover, self._home, kind, path.name))
            fault = found if isinstance(found, Fault) else None
        return fault or part_fault(self._home, kind, path.name)


def _shown(kind: FolderKind, name: str, fault: Fault, *, is_shown: bool, path: Path | None = None) -> DamagedFolder:
    where = fault.path if fault.path.name or path is None else path
    return DamagedFolder(
        kind=kind,
        id=_text(name),
        path=_text(str(where)),
        reason=_text(fault.reason),
        remedy=fault.remedy,
        is_shown=is_shown,
    )


def _text(name: str) -> str:
    """Returns a file's name as text that can be sent: names on the disk are bytes, which need not be UTF-8."""
    return name.encode("utf-8", "replace").decode()


def _stamp(kind: FolderKind, path: Path) -> _Stamp:
    """Returns what changes when a folder's records change, or its newest checkpoint, table or store."""
    return tuple(_changed(path / name) for name in ("", record_name(kind), "checkpoints", "samples", "store"))


def _changed(path: Path) -> float:
    try:
        status = os.stat(path)
    except OSError:
        return 0.0
    return status.st_mtime + status.st_ctime


def _age_s(*paths: Path) -> float:
    """Returns the age of the first of some paths that is there; 0 where none is."""
    for path in paths:
        try:
            return time.time() - path.stat().st_mtime
        except OSError:
            continue
    return 0.0
