"""What is made of clips once, on demand, by an expendable process, and kept in the home within a size.

That is clips that browsers cannot play, made anew, and the sound of clips whose store keeps spectrograms. The API waits
for the process without holding a thread. Where the worker's package is not installed beside the backend (containers),
clips are served as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from backend.retention import Freed, Item, Retention, surplus
from worker.contract.errors import (
    GapscopeError,
    InsufficientStorageError,
    MediaError,
    NotFoundError,
    Problem,
    UnavailableError,
)
from worker.contract.settings import Settings
from worker.contract.spec.preprocess import PreprocessSpec

FOLDER: Final = "derived"
TIMEOUT_S: Final = 120.0
AT_ONCE: Final = 2
ABANDONED_S: Final = 3_600.0
"""What is half made and did not change for this long never will be finished."""
PLAYED: Final = frozenset({".webm", ".wav", ".mp3", ".m4a", ".ogg", ".flac", ".mkv"})
"""Containers whose usual codecs browsers play; of .mp4, .mov and .m4v the codec decides."""
MP4: Final = frozenset({".mp4", ".m4v", ".mov"})
PLAYED_CODECS: Final = (b"avc1", b"avc3", b"av01", b"vp09", b"hvc1", b"hev1")
HEAD_BYTES: Final = 256 * 1024
TAIL_BYTES: Final = 1024 * 1024


def is_playable(path: Path) -> bool:
    """Returns whether browsers play a file, by its kind and, of MP4, by the codec that its index names."""
    suffix = path.suffix.lower()
    if suffix in PLAYED:
        return True
    if suffix not in MP4:
        return False
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        tail = file.read(TAIL_BYTES)
    named = head + tail
    return any(codec in named for codec in PLAYED_CODECS) or (b"mp4v" not in named and b"vide" not in named)


class Derivatives:
    """Makes and keeps derivatives. To be used in one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.home / FOLDER
        self._max_bytes = settings.max_derived_bytes
        self._max_age_s = settings.derived_days * 86_400
        self._making: dict[str, asyncio.Task[Path]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._can = importlib.util.find_spec("worker.media") is not None

    async def playable(self, path: Path) -> Path:
        """Returns a file that browsers play: the clip itself, or its derivative, made now if there is none.

        Raises:
            MediaError: when the clip cannot be decoded.
            UnavailableError: code `not-derived`, when the process ended without a word or took too long.
        """
        try:
            if not self._can or not path.is_file() or await asyncio.to_thread(is_playable, path):
                return path
            return await self._once(path, ".mp4", "worker.media.derive")
        except OSError:
            return path  # serving it says what is wrong

    async def sound(self, path: Path, start_s: float, length_s: float, spec: PreprocessSpec) -> Path:
        """Returns a file of what training hears of a stretch of a clip: int16, mono, at the rate of the dataset.

        Args:
            path: the clip, or its separate sound file.
            start_s: where the window begins in the clip, seconds.
            length_s: how much of the window the clip covers, seconds.
            spec: of the dataset.

        Raises:
            MediaError: when the sound cannot be decoded.
            NotFoundError: code `media-not-found`, when the file is gone.
                `waveform-not-stored`, when nothing can be decoded here.
            UnavailableError: code `not-derived`, when it took too long, or its process ended.
        """
        if not self._can:
            raise NotFoundError(
                "The dataset keeps spectrograms, and this server decodes no clips (the worker's package is not "
                "installed beside it), so there is no waveform.",
                code="waveform-not-stored",
            )
        window = (f"{start_s:.4f}", f"{length_s:.4f}", str(spec.sample_rate_hz), str(spec.num_samples))
        try:
            return await self._once(path, ".i16", "worker.media.derive_sound", *window)
        except FileNotFoundError:
            raise NotFoundError(
                f"The file {path.name} is gone. Prepare the dataset anew.", code="media-not-found"
            ) from None

    async def _once(self, path: Path, suffix: str, module: str, *arguments: str) -> Path:
        """Returns the derivative of a file as it is now, made if it is not there."""
        status = path.stat()
        text = "\0".join((str(path.resolve()), str(status.st_size), str(status.st_mtime_ns), *arguments))
        name = hashlib.sha256(text.encode()).hexdigest()[:40] + suffix
        target = self._folder / name
        if target.exists():
            with contextlib.suppress(OSError):
                os.utime(target)  # the one that was not looked at for longest goes first
            return target
        task = self._making.get(name)
        if task is None:
            task = self._making[name] = asyncio.create_task(self._make(target, module, str(path), arguments))
            task.add_done_callback(lambda _: self._making.pop(name, None))
        return await asyncio.shield(task)  # who waits may go away; the others still get it

    async def _make(self, target: Path, module: str, source: str, arguments: tuple[str, ...]) -> Path:
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        async with self._slots:
            try:
                self._folder.mkdir(exist_ok=True)
                await self._run(module, source, str(partial), str(os.getpid()), *arguments)
                partial.rename(target)
            except OSError as error:
                raise InsufficientStorageError(f"What is made of the clip could not be written: {error}.") from error
            finally:
                partial.unlink(missing_ok=True)
            await asyncio.to_thread(self._keep_within_size, target)
        return target

    async def _run(self, module: str, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module, *arguments),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [_root(), os.environ.get("PYTHONPATH")]))},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        except (TimeoutError, asyncio.CancelledError) as error:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise UnavailableError(
                f"Decoding the clip takes longer than {TIMEOUT_S:.0f} s. Download the original instead.",
                code="not-derived",
            ) from None
        if process.returncode != 0:
            raise _why(said, process.returncode)

    def sweep(self, *, is_short: bool) -> Freed:
        """Deletes derivatives that nobody looked at for too long, or all of them, and what was never finished.

        Args:
            is_short: the disk is short: they can be made again.
        """
        items, paths, now = [], {}, time.time()
        for path in self._folder.glob("*") if self._folder.is_dir() else ():
            with contextlib.suppress(OSError):
                status = path.stat()
                if not path.name.startswith("."):
                    items.append(Item(path.name, now - status.st_mtime, status.st_size))
                elif now - status.st_mtime > ABANDONED_S:
                    path.unlink()
                paths[path.name] = path
        limit = Retention(self._max_age_s, max_bytes=0 if is_short else self._max_bytes)
        gone = surplus(items, limit)
        for item in gone:
            paths[item.key].unlink(missing_ok=True)
        return Freed(len(gone), sum(item.num_bytes for item in gone))

    def _keep_within_size(self, newest: Path) -> None:
        """Deletes the derivatives that nobody looked at for longest, but never the newest."""
        found = []
        for path in self._folder.glob("[!.]*"):
            with contextlib.suppress(OSError):
                found.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._max_bytes or path == newest:
                return
            path.unlink(missing_ok=True)
            total -= size


def _root() -> str:
    return str(Path(__file__).resolve().parents[1])


def _why(said: bytes, status: int | None) -> GapscopeError:
    try:
        problem = Problem.model_validate_json(said.splitlines()[-1])
        return MediaError(problem.detail, code=problem.code)
    except (IndexError, ValidationError):
        return UnavailableError(
            f"The process that decodes the clip ended with status {status}. Download the original instead.",
            code="not-derived",
        )
