"""`gapscope backup` and `restore`: a home as one file, consistent while its runs go on.

Of each job the outcome is read first, then its events up to the last complete line, then all the rest. So what the copy
says to be over is whole in it, and no event is ahead of the checkpoint that it came from: a restored run goes on from
there as after a kill. Locks, logs, the trash, the server's files and what is half written stay behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from backend.stack.errors import StackError
from worker.contract.layout import HOME_FORMAT, is_half_written, sync_folder

MANIFEST: Final = "gapscope-backup.json"
FORMAT: Final = 1
JOBS: Final = ("datasets", "runs", "scores", "batches", "subsets")
TOP: Final = ("home.json", "media.key", "keys.json", "annotations")
LEFT_OUT: Final = frozenset({"lock"})
FIRST: Final = ("outcome.json", "result.json", "events.jsonl", "rows.jsonl")
"""In this order before everything else of a job."""
BLOCK: Final = 1024 * 1024
Tell = Callable[[str], None]


@dataclass
class _Writing:
    tar: tarfile.TarFile
    digests: dict[str, str] = field(default_factory=dict)
    inodes: dict[tuple[int, int], str] = field(default_factory=dict)
    num_bytes: int = 0


@dataclass(frozen=True)
class Summary:
    """What a backup holds, or what was restored."""

    num_files: int
    num_bytes: int
    jobs: dict[str, int]

    def __str__(self) -> str:
        """Returns it in a line."""
        counts = ", ".join(f"{number} {kind}" for kind, number in self.jobs.items() if number)
        return f"{self.num_files:,} files, {self.num_bytes / 1e6:,.1f} MB ({counts or 'an empty home'})"


def backup(home: Path, target: Path, *, stores: bool = True, tell: Tell = lambda line: None) -> Summary:
    """Writes a home into a file, which appears once it is complete.

    Args:
        home: of a running stack or of none.
        target: the file.
        stores: with the prepared stores and the clips that the product made; they can be prepared again.
        tell: called with a line for each kind of job.

    Raises:
        StackError: when `home` is none, or the file cannot be written.
    """
    if not (home / "home.json").is_file():
        raise StackError(
            f"Expected a Gapscope home at {home}: it has no home.json. Give it with --home.", code="no-home"
        )
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    jobs = {}
    try:
        # It holds the keys' digests and what signs tickets: nobody else's to read.
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                writing = _Writing(tar)
                for name in TOP:
                    for path in _files(home / name):
                        _add(writing, home, path)
                # Listed before any is copied, what builds on others first: nothing is there without what it needs.
                folders = {kind: sorted(_folders(home / kind)) for kind in reversed(JOBS)}
                for kind in JOBS:
                    jobs[kind] = len(folders[kind])
                    for folder in folders[kind]:
                        _add_job(writing, home, folder, stores=stores)
                    tell(f"{kind}: {jobs[kind]}")
                document = {
                    "format": FORMAT,
                    "home_format": HOME_FORMAT,
                    "created_at": datetime.now(UTC).isoformat(),
                    "stores": stores,
                    "jobs": jobs,
                    "sha256": writing.digests,
                }
                _add_bytes(writing, MANIFEST, json.dumps(document).encode())
            file.flush()
            os.fsync(file.fileno())
        partial.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise StackError(
            f"The backup {target} could not be written: {error.strerror or error}. Nothing was changed.",
            code="backup-not-written",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return Summary(len(writing.digests), writing.num_bytes, jobs)


def restore(source: Path, home: Path, *, tell: Tell = lambda line: None) -> Summary:
    """Makes a home from a backup; every file is checked against its digest before the home appears.

    Args:
        source: the file.
        home: where there is nothing yet.
        tell: called with a line now and then.

    Raises:
        StackError: when there is something at `home`, or the file is none of ours or is damaged.
    """
    if home.exists() and any(home.iterdir()):
        raise StackError(
            f"Expected nothing at {home}, and there is something. Choose another --home: a restore changes no home.",
            code="home-not-empty",
        )
    fresh = home.with_name(f".{home.name}.{os.getpid()}.restoring")
    fresh.mkdir(mode=0o700, parents=True)
    try:
        with tarfile.open(source, mode="r:") as tar:
            tar.extractall(fresh, filter="data")  # nothing leads outside, no devices, no set-user-id
        manifest = _manifest(fresh / MANIFEST, source)
        (fresh / MANIFEST).unlink()
        _verify(fresh, manifest["sha256"], source)
        tell("checked")
        if home.exists():
            home.rmdir()
        fresh.rename(home)
        sync_folder(home.parent)
    except (tarfile.TarError, OSError) as error:
        raise StackError(
            f"{source} could not be restored: {error}. {home} was left as it was.", code="backup-unreadable"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    names = manifest["sha256"]
    return Summary(len(names), sum((home / name).stat().st_size for name in names), manifest["jobs"])


def _folders(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield from (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(path: Path, *, are_clips: bool = False) -> Iterator[Path]:
    """Yields the regular files at or below a path, by name; what is half written is left out, but never a clip."""
    if path.is_symlink() or not path.exists():
        return
    if path.is_file():
        yield path
        return
    with contextlib.suppress(FileNotFoundError):  # it was thinned out or replaced meanwhile
        for inner in sorted(path.iterdir()):
            if are_clips or not is_half_written(inner.name):
                yield from _files(inner, are_clips=are_clips or inner.name == "clips")


def _add_job(writing: _Writing, home: Path, folder: Path, *, stores: bool) -> None:
    first = [folder / name for name in FIRST]
    for path in first:
        if path.is_file():
            _add(writing, home, path)
    for path in _files(folder):
        inner = path.relative_to(folder).parts
        is_store = inner[0] in ("store", "clips", "features") and folder.parent.name == "datasets"
        is_upload = (folder / "upload.json").exists() and inner[0] == "clips"
        if path in first or inner[0] in LEFT_OUT or (is_store and not stores and not is_upload):
            continue
        _add(writing, home, path)


def _add(writing: _Writing, home: Path, path: Path) -> None:
    """Adds a file as it is now; one that is gone meanwhile is passed over."""
    name = str(path.relative_to(home))
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        status = os.fstat(file.fileno())
        known = writing.inodes.setdefault((status.st_dev, status.st_ino), name)
        if known != name and status.st_nlink > 1:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.LNKTYPE, known
            writing.tar.addfile(entry)
            writing.digests[name] = writing.digests[known]
            return
        size = _whole_lines(file, status.st_size) if path.suffix == ".jsonl" else status.st_size
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime, entry.mode = size, status.st_mtime, status.st_mode & 0o777
        reader = _Digesting(file, size)
        writing.tar.addfile(entry, reader)
        writing.digests[name] = reader.digest.hexdigest()
        writing.num_bytes += size


def _add_bytes(writing: _Writing, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    writing.tar.addfile(entry, io.BytesIO(data))


def _whole_lines(file: IO[bytes], size: int) -> int:
    """Returns the bytes up to the end of the last complete line."""
    end = size
    while end > 0:
        start = max(0, end - BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    file.seek(0)
    return end


class _Digesting(io.RawIOBase):
    """Reads the first bytes of a file and digests them on the way."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        self.digest.update(data)
        return data


def _manifest(path: Path, source: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
        fits = document["format"] == FORMAT and document["home_format"] <= HOME_FORMAT
        fits = fits and isinstance(document["sha256"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        fits, document = False, {}
    if not fits:
        raise StackError(
            f"Expected a backup of Gapscope (format {FORMAT}) in {source}; its list of files is missing, torn, or of a "
            "newer version.",
            code="backup-unreadable",
        )
    return dict(document)


def _verify(folder: Path, digests: dict[str, str], source: Path) -> None:
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    both = sorted(there & set(digests))
    wrong = sorted(there ^ set(digests)) + [name for name in both if _sha(folder / name) != digests[name]]
    if wrong:
        raise StackError(
            f"{source} is damaged: {len(wrong)} files are missing, too many or changed, such as {wrong[0]!r}. Use "
            "another backup.",
            code="backup-damaged",
        )


def _sha(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
