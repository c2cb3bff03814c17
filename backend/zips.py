"""Zip files of clips, unpacked without trusting them: every entry is judged before the first byte is written.

Refused with a stable code: names that lead out of the folder, links and devices, names that differ in case alone,
encryption, and what is over a limit (files, bytes, ratio, depth). Hidden files (.DS_Store, __MACOSX) are left out.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.contract.errors import InvalidRequestError, TooLargeError
from worker.contract.settings import MIB, Settings

BLOCK = MIB
MAX_PART_BYTES = 240
"""Of one file or folder name; file systems take 255."""
DIRECTORY_BYTES_PER_FILE = 1_024
"""Longest mean entry of a zip's directory, which is read into memory as a whole."""
SMALL_BYTES = MIB
"""Entries below this size are not judged by their ratio: silence and black pictures compress well."""
SPLIT_FOLDERS = frozenset({"train", "validation", "val", "test"})
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_END, _END_BYTES, _MAX_COMMENT = b"PK\x05\x06", 22, 65_535
_END_64, _LOCATOR_64, _LOCATOR_BYTES = b"PK\x06\x06", b"PK\x06\x07", 20


@dataclass(frozen=True)
class ZipLimits:
    """How much a zip may hold."""

    max_bytes: int
    max_files: int
    max_ratio: float
    max_depth: int

    @classmethod
    def of(cls, settings: Settings) -> ZipLimits:
        """Returns the limits of the settings."""
        return cls(
            settings.max_zip_unpacked_bytes, settings.max_zip_files, settings.max_zip_ratio, settings.max_zip_depth
        )


@dataclass(frozen=True)
class ZipEntry:
    """One file of a zip, and where it goes below the folder."""

    info: zipfile.ZipInfo
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Unpacked:
    """What was unpacked."""

    digest: str
    """16 hexadecimal digits of all names and contents: equal for equal clips, however they were packed."""
    num_files: int
    num_bytes: int


def judged(path: Path, limits: ZipLimits) -> list[ZipEntry]:
    """Returns the files of a zip that may be unpacked, without the one folder around all of them.

    Args:
        path: the zip file.
        limits: how much it may hold.

    Raises:
        GapscopeError: saying which entry is refused, and why.
    """
    _check_directory(path, limits)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise _broken(str(error)) from None
    if sum(info.compress_size for info in infos) > path.stat().st_size:
        raise _broken("its entries overlap")
    files = [entry for info in infos if (entry := _entry(info, limits)) is not None]
    if not files:
        raise InvalidRequestError(
            "Expected a zip with folders of clips; it holds no files. Choose another one.", code="zip-empty"
        )
    if len(files) > limits.max_files:
        raise _too_many(len(files), limits)
    total = sum(entry.info.file_size for entry in files)
    if total > limits.max_bytes:
        raise TooLargeError(
            f"Expected at most {limits.max_bytes:,} bytes unpacked; got {total:,}. Split the clips over two datasets, "
            "or raise GAPSCOPE_MAX_ZIP_UNPACKED_BYTES.",
            code="zip-too-large",
        )
    _check_collisions(files)
    return _without_root(files)


def unpack(path: Path, entries: list[ZipEntry], folder: Path) -> Unpacked:
    """Writes the files of a zip and returns what they are.

    Args:
        path: the zip file.
        entries: what `judged` returned for it.
        folder: an empty folder.

    Raises:
        InvalidRequestError: code `zip-broken`: torn, or other bytes than its directory says.
    """
    lines, num_bytes = [], 0
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in entries:
                target = folder.joinpath(*entry.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                digest = hashlib.sha256()
                with archive.open(entry.info) as source, target.open("xb") as file:
                    while block := source.read(BLOCK):  # never more than the declared size: zipfile stops there
                        digest.update(block)
                        file.write(block)
                        num_bytes += len(block)
                if target.stat().st_size != entry.info.file_size:
                    raise _broken(f"{'/'.join(entry.parts)[:120]!r} is cut off")
                lines.append(f"{'/'.join(entry.parts)}\0{digest.hexdigest()}")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _broken(str(error)) from None
    os.sync()
    whole = hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]
    return Unpacked(whole, len(entries), num_bytes)


def _entry(info: zipfile.ZipInfo, limits: ZipLimits) -> ZipEntry | None:
    """Returns the file that an entry is; None for folders and hidden files."""
    name = _name(info)
    shown = repr(name[:120])
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InvalidRequestError(
            f"Expected files and folders; {shown} is a link or a device. Pack the files themselves.",
            code="zip-not-a-file",
        )
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    unsafe = name.startswith("/") or ".." in parts or any(":" in part[:2] for part in parts[:1])
    if unsafe or not all(_is_plain(part) for part in parts):
        raise InvalidRequestError(
            f"Expected names below the zip's own folder, of at most {MAX_PART_BYTES} bytes a part; got {shown}. "
            "Pack the folder again.",
            code="zip-unsafe-name",
        )
    if name.endswith("/") or mode == stat.S_IFDIR or not parts:
        return None
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return None
    _check_content(info, shown, limits)
    if len(parts) - 1 > limits.max_depth:
        raise InvalidRequestError(
            f"Expected folders at most {limits.max_depth} deep; got {shown}. Pack it flatter, or raise "
            "GAPSCOPE_MAX_ZIP_DEPTH.",
            code="zip-too-deep",
        )
    return ZipEntry(info, parts)


def _check_content(info: zipfile.ZipInfo, shown: str, limits: ZipLimits) -> None:
    if info.flag_bits & 0x1:
        raise InvalidRequestError(
            f"Expected a zip without a password; {shown} is encrypted. Pack it without one.", code="zip-encrypted"
        )
    if info.compress_type not in _METHODS:
        raise InvalidRequestError(
            f"Expected entries that are stored or deflated; {shown} is compressed otherwise. Pack it with zip's "
            "default method.",
            code="zip-unknown-method",
        )
    if info.file_size > max(SMALL_BYTES, limits.max_ratio * info.compress_size):
        raise TooLargeError(
            f"Expected files that grow at most {limits.max_ratio:g} times when unpacked; {shown} grows from "
            f"{info.compress_size:,} to {info.file_size:,} bytes. Clips do not; or raise GAPSCOPE_MAX_ZIP_RATIO.",
            code="zip-bomb",
        )


def _name(info: zipfile.ZipInfo) -> str:
    """Returns an entry's name; many tools write UTF-8 without saying so, which zipfile reads as cp437."""
    name = info.orig_filename
    if not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = info.orig_filename
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _is_plain(part: str) -> bool:
    return part.isprintable() and len(part.encode("utf-8", "surrogatepass")) <= MAX_PART_BYTES


def _check_collisions(files: list[ZipEntry]) -> None:
    """Refuses names that are one file where case does not count, and a file that is also a folder."""
    seen: dict[str, str] = {}
    for entry in files:
        name = "/".join(entry.parts)
        other = seen.setdefault(name.casefold(), name)
        if other is not name:
            raise _collision(name, other)
    for entry in files:
        for depth in range(1, len(entry.parts)):
            above = "/".join(entry.parts[:depth]).casefold()
            if above in seen:
                raise _collision("/".join(entry.parts), seen[above])


def _without_root(files: list[ZipEntry]) -> list[ZipEntry]:
    """Returns the files without the folder around all of them, as zips of a folder have it; a split is none."""
    roots = {entry.parts[0] for entry in files}
    depths = {len(entry.parts) for entry in files}
    if len(roots) > 1 or min(depths) < 2 or roots.pop().lower() in SPLIT_FOLDERS:
        return files
    inner = [ZipEntry(entry.info, entry.parts[1:]) for entry in files]
    has_folders = any(len(entry.parts) > 1 for entry in inner)
    return inner if has_folders else files


def _check_directory(path: Path, limits: ZipLimits) -> None:
    """Refuses a directory that would fill the memory before it is read."""
    size = _directory_bytes(path)
    if size > limits.max_files * DIRECTORY_BYTES_PER_FILE:
        raise _too_many(size // 64, limits)


def _directory_bytes(path: Path) -> int:
    length = path.stat().st_size
    with path.open("rb") as file:
        begin = max(0, length - _END_BYTES - _MAX_COMMENT - _LOCATOR_BYTES)
        file.seek(begin)
        tail = file.read()
        place = tail.rfind(_END)
        if place < 0 or len(tail) - place < _END_BYTES:
            raise _broken("its end is missing")
        (size,) = struct.unpack_from("<I", tail, place + 12)
        locator = tail[max(0, place - _LOCATOR_BYTES) : place]
        if not locator.startswith(_LOCATOR_64):
            return int(size)
        file.seek(min(struct.unpack_from("<Q", locator, 8)[0], length))
        record = file.read(56)
        return int(struct.unpack_from("<Q", record, 40)[0]) if record[:4] == _END_64 and len(record) == 56 else length


def top_files(entries: list[ZipEntry]) -> Iterator[str]:
    """Yields the name of each file that lies at the top."""
    return (entry.parts[0] for entry in entries if len(entry.parts) == 1)


def _too_many(number: int, limits: ZipLimits) -> TooLargeError:
    return TooLargeError(
        f"Expected at most {limits.max_files:,} files in a zip; got about {number:,}. Split the clips over two "
        "datasets, or raise GAPSCOPE_MAX_ZIP_FILES.",
        code="zip-too-many-files",
    )


def _collision(name: str, other: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"Expected names that differ in more than case; got {other[:120]!r} and {name[:120]!r}. Rename one of them.",
        code="zip-name-collision",
    )


def _broken(why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"Expected a whole zip file; this one cannot be read: {why[:200]}. Pack it again.", code="zip-broken"
    )
