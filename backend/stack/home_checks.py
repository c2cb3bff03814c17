"""Checks of the home for `gapscope doctor`: rights, format, what was left behind, what cannot be read."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from backend.stack import record
from backend.stack.finding import Examined, Finding
from backend.stack.home_lock import HomeLock, is_held
from worker.contract.errors import GapscopeError
from worker.contract.layout import HOME_FORMAT, Home, JobFolder, RunFolder, id_folders, is_half_written
from worker.contract.lock import read_holder

SECRET_FILES = ("media.key", "keys.json", "local.key", "stack.lock", "redis/server.json", "redis/valkey.conf")
OLD_S = 3_600.0
"""Half-written files are removed once they are this old: a worker on another host may be writing a younger one."""
SHOWN = 5


def check_home(examined: Examined) -> Finding:
    """Returns whether the home can be used, and was written by a version that this one can read."""
    home = examined.home
    if not home.exists():
        parent = next(folder for folder in home.parents if folder.exists())
        return Finding("home", "ok", f"{home} does not exist yet; it is made in {parent} at the first start")
    if examined.running:
        holder = record.read(home) or {}
        return Finding(
            "home", "ok", f"{home}, served by process {holder.get('pid', '?')} at {holder.get('ui_url', '?')}"
        )
    try:
        with HomeLock(home):
            pass
    except (GapscopeError, OSError) as error:
        remedy = "Give this user the right to write there, or choose another folder with --home."
        return Finding("home", "error", f"{home} cannot be used: {error}", remedy)
    return _check_format(home)


def _check_format(home: Path) -> Finding:
    file = Home(home).format_file
    try:
        written = json.loads(file.read_bytes())["format"] if file.exists() else HOME_FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = (
            f'Restore it from a backup; or, if this version made the home, write {{"format": {HOME_FORMAT}}} there.'
        )
        return Finding("home", "error", f"{file} cannot be read: {error}", remedy)
    if written not in (HOME_FORMAT, HOME_FORMAT - 1):
        remedy = "Use the Gapscope version that wrote it, or another folder with --home."
        detail = f"{home} has format {written}; this version reads {HOME_FORMAT - 1} and {HOME_FORMAT}"
        return Finding("home", "error", detail, remedy)
    return Finding("home", "ok", f"{home} can be written and locked")


def check_rights(examined: Examined) -> Finding:
    """Returns whether others can read secrets of the home or write into it; --fix takes these rights away."""
    wrong = dict(_open_to_others(examined.home))
    if not wrong:
        return Finding("rights", "ok", "secrets are readable by their owner alone, and nobody else can write")
    told = _listed([f"{path} ({stat.filemode(path.stat().st_mode)})" for path in wrong])
    if not examined.fix:
        remedy = "Run `gapscope doctor --fix`: it takes the rights of others away."
        return Finding("rights", "warning", f"open to others: {told}", remedy)
    for path, mode in wrong.items():
        path.chmod(mode)
    return Finding("rights", "ok", f"was open to others, mended: {told}")


def _open_to_others(home: Path) -> Iterator[tuple[Path, int]]:
    """Yields what is open wider than it should be, and the mode that it should have."""
    if home.exists() and home.stat().st_mode & stat.S_IWOTH:
        yield home, stat.S_IMODE(home.stat().st_mode) & ~stat.S_IWOTH
    redis = home / "redis"
    if redis.exists() and redis.stat().st_mode & 0o077:
        yield redis, 0o700
    for path in (home / name for name in SECRET_FILES):
        if path.exists() and path.stat().st_mode & 0o077:
            yield path, 0o600


def check_leftovers(examined: Examined) -> Finding:
    """Returns what a stack that ended badly left behind: its record, half-written files, uploads; --fix removes it."""
    if examined.running:
        return Finding("leftovers", "ok", "not looked for while the stack runs")
    found = list(_leftovers(examined.home))
    is_stale = record.path_of(examined.home).exists()
    if not found and not is_stale:
        return Finding("leftovers", "ok", "none")
    told = ([f"{record.path_of(examined.home)} of a stack that ended badly"] if is_stale else []) + (
        [f"{len(found)} half-written files or folders: {_listed([str(path) for path in found])}"] if found else []
    )
    if not examined.fix:
        remedy = "Run `gapscope doctor --fix`: it removes them, and ends what that stack left running."
        return Finding("leftovers", "warning", "; ".join(told), remedy)
    with HomeLock(examined.home):
        killed = record.kill_leftovers(examined.home)
        record.remove(examined.home)
        for path in found:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    ended = f"; ended {len(killed)} processes" if killed else ""
    return Finding("leftovers", "ok", f"removed {'; '.join(told)}{ended}")


def _leftovers(home: Path) -> Iterator[Path]:
    """Yields the files and folders in the making that nobody makes any more; the store of a preparation goes on."""
    oldest = time.time() - OLD_S
    for folder, names, files in os.walk(home):
        here = Path(folder)
        if here.parent.parent == home and "clips" in names:
            names.remove("clips")  # called as their owner likes
        for name in [name for name in names if is_half_written(name) or name.startswith(".upload-")]:
            names.remove(name)
            if name != "store.partial" and (here / name).lstat().st_mtime < oldest:
                yield here / name
        for name in files:
            if is_half_written(name) and (here / name).lstat().st_mtime < oldest:
                yield here / name


def check_locks(examined: Examined) -> Finding:
    """Returns the jobs whose folder a process holds although no stack runs, on this host or another."""
    if examined.running:
        return Finding("locks", "ok", "held by the stack that runs")
    home = Home(examined.home)
    folders = [JobFolder(path) for root in (home.runs, home.datasets, home.batches) for path in _folders(root)]
    held = [folder for folder in folders if is_held(folder.lock)]
    if not held:
        return Finding("locks", "ok", f"none of {len(folders)} folders is held")
    told = []
    for folder in held:
        holder = read_holder(folder.lock)
        told.append(f"{folder.path.name} by process {holder.pid} on {holder.host}" if holder else folder.path.name)
    remedy = (
        "A process goes on writing there. The next `gapscope up` waits for it, then ends it if it is on this host; or "
        "end it with `kill`."
    )
    return Finding("locks", "warning", f"held though no stack runs: {_listed(told)}", remedy)


def check_set_apart(examined: Examined) -> Finding:
    """Returns the folders of the home that cannot be read."""
    from backend.quarantine import Quarantine  # loads pyarrow and DuckDB: `gapscope up` need not wait for them

    home = Home(examined.home)
    if not home.runs.exists():
        return Finding("folders", "ok", "none yet")
    found = Quarantine(home, None).found()
    if not found:
        return Finding("folders", "ok", "all can be read")
    told = _listed([f"{folder.path}: {folder.reason}. {folder.remedy}" for folder in found], separator="\n")
    detail = f"{len(found)} cannot be read in full or are none of ours:\n{told}"
    return Finding("folders", "warning", detail, "Do what is said of each. They stop nothing; mended, they come back.")


def check_unfinished(examined: Examined) -> Finding:
    """Returns the runs that wait to be continued."""
    folders = [RunFolder(path) for path in _folders(Home(examined.home).runs)]
    unfinished = [folder.path.name for folder in folders if _has(folder.spec) and not _has(folder.outcome)]
    if not unfinished:
        return Finding("unfinished runs", "ok", f"none of {len(folders)} runs")
    if examined.running:
        detail = f"{len(unfinished)} of {len(folders)} queued or running: {_listed(unfinished)}"
        return Finding("unfinished runs", "ok", detail)
    remedy = "They go on by themselves at the next `gapscope up`."
    detail = f"{len(unfinished)} of {len(folders)} were interrupted: {_listed(unfinished)}"
    return Finding("unfinished runs", "warning", detail, remedy)


def _folders(root: Path) -> list[Path]:
    try:
        return id_folders(root)
    except OSError:  # not there yet; or named by check_set_apart
        return []


def _has(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _listed(parts: list[str], separator: str = ", ") -> str:
    """Returns the first few of some parts as text."""
    more = f"{separator}and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    return separator.join(parts[:SHOWN]) + more
