"""Uploads: a multipart form whose files go to disk as they come in and never lie in memory."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from backend.problems import UnsupportedMediaError, invalid_field
from backend.upload_slots import steady
from worker.contract.errors import GapscopeError, InvalidRequestError, TooLargeError

MAX_FIELD_BYTES = 4_096
MAX_PARTS = 10
MAX_HEADER_BYTES = 8_192
"""Of all headers of a part."""
MAX_BOUNDARY = 70
"""RFC 2046, section 5.1.1."""
MAX_FILENAME = 200
TS_PACKET = 188
SNIFFED_BYTES = TS_PACKET + 1


def sniff(head: bytes) -> str | None:
    """Returns the suffix of the container that a file's first bytes announce, or None when it is none we decode."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
        return ".mp4"
    if head[:4] == b"\x1aE\xdf\xa3":
        return ".webm" if b"webm" in head else ".mkv"
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WAVE"):
        return ".avi" if head[8:12] == b"AVI " else ".wav"
    if head[:4] == b"RF64" and head[8:12] == b"WAVE":
        return ".wav"
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
        return ".mp3"
    for magic, suffix in ((b"FLV\x01", ".flv"), (b"OggS", ".ogg"), (b"fLaC", ".flac")):
        if head.startswith(magic):
            return suffix
    is_transport_stream = len(head) > TS_PACKET and head[0] == head[TS_PACKET] == 0x47
    return ".ts" if is_transport_stream else None


@dataclass(frozen=True)
class Incoming:
    """The body of a request, before anything of it was read."""

    content_type: str
    num_bytes: int | None
    """As the sender says; None where they do not."""
    stream: AsyncIterator[bytes]

    @classmethod
    def of(cls, request: Request) -> Self:
        """Returns the body of a request; a part that does not come in time ends it."""
        declared = request.headers.get("content-length")  # BodyLimit has seen that it is a number
        num_bytes = int(declared) if declared else None
        return cls(request.headers.get("content-type", ""), num_bytes, steady(request.stream()))


@dataclass
class StoredFile:
    """A file of a form, as it lies on disk."""

    name: str
    filename: str
    path: Path
    size: int = 0


@dataclass
class StoredForm:
    """A form that was read: small fields as text, files on disk."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)


class FormReader:
    """Reads one multipart form into a folder."""

    def __init__(self, content_type: str, folder: Path, *, fields: set[str], files: set[str], max_file: int) -> None:
        """Prepares to read.

        Args:
            content_type: the request's Content-Type.
            folder: where the files go, named by their field; must exist.
            fields: names of the text fields that the form may have.
            files: names of the file fields that the form may have.
            max_file: bytes that one file may have.

        Raises:
            InvalidRequestError: when the request is no multipart form.
        """
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise UnsupportedMediaError(
                "Expected a multipart/form-data body with a boundary, with the clip in the field `file`; or JSON.",
                code="not-a-form",
            )
        if len(boundary) > MAX_BOUNDARY:
            raise InvalidRequestError(
                f"The form's boundary: expected at most {MAX_BOUNDARY} bytes, got {len(boundary)}.", code="form-broken"
            )
        self.form = StoredForm()
        self._folder, self._fields, self._files, self._max_file = folder, fields, files, max_file
        self._parts = self._header_bytes = 0
        self._is_whole = False
        self._header_name, self._header_value = bytearray(), bytearray()
        self._disposition = b""
        self._text: tuple[str, bytearray] | None = None
        self._file: tuple[StoredFile, BinaryIO] | None = None
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_header_name,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._end,
                "on_end": self._on_end,
            },
        )

    async def read(self, stream: AsyncIterator[bytes]) -> StoredForm:
        """Returns the form once all of it is read and its files are on the disk.

        Raises:
            GapscopeError: when a field is unknown, missing its name, or over its limit.
        """
        try:
            async for chunk in stream:
                if chunk:
                    await run_in_threadpool(self._parser.write, chunk)
            self._parser.finalize()
            if not self._is_whole:
                raise InvalidRequestError("The form ends before its last boundary. Send it again.", code="form-broken")
        except FormParserError as error:
            raise InvalidRequestError(f"The form cannot be read: {error}. Send it again.", code="form-broken") from None
        finally:
            self._close()
        return self.form

    def _begin(self) -> None:
        self._parts += 1
        self._header_bytes = 0
        self._disposition = b""
        if self._parts > MAX_PARTS:
            raise InvalidRequestError(f"Expected at most {MAX_PARTS} fields.", code="form-broken")

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header_value += data[start:end]

    def _count_header(self, num_bytes: int) -> None:
        self._header_bytes += num_bytes
        if self._header_bytes > MAX_HEADER_BYTES:
            raise InvalidRequestError(
                f"The headers of a field: expected at most {MAX_HEADER_BYTES:,} bytes.", code="form-broken"
            )

    def _on_header_end(self) -> None:
        if bytes(self._header_name).lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name, self._header_value = bytearray(), bytearray()

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name not in self._fields | self._files:
            raise invalid_field(
                name[:80] or "(no name)",
                expected=f"one of {', '.join(sorted(self._fields | self._files))}",
                got=repr(name[:80]),
                remedy="Leave the field out.",
            )
        if name in self.form.fields or name in self.form.files:
            raise invalid_field(name, expected="the field once", got="the field twice", remedy="Send it once.")
        if name in self._fields:
            self._text = (name, bytearray())
            return
        filename = os.path.basename(options.get(b"filename", b"").decode("utf-8", "replace").replace("\\", "/"))
        printable = "".join(sign for sign in filename if sign.isprintable())[-MAX_FILENAME:]
        stored = StoredFile(name, printable or "clip", self._folder / name)
        self.form.files[name] = stored
        self._file = (stored, stored.path.open("xb"))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._text is not None:
            self._text[1].extend(data[start:end])
            if len(self._text[1]) > MAX_FIELD_BYTES:
                raise TooLargeError(
                    f"{self._text[0]}: expected at most {MAX_FIELD_BYTES} bytes.", code="field-too-large"
                )
        elif self._file is not None:
            stored, file = self._file
            stored.size += end - start
            if stored.size > self._max_file:
                limit = f"{self._max_file:,}"
                raise TooLargeError(
                    f"{stored.name}: expected a file of at most {limit} bytes.", code="upload-too-large"
                )
            file.write(data[start:end])

    def _end(self) -> None:
        if self._text is not None:
            name, value = self._text
            self._text = None
            try:
                self.form.fields[name] = value.decode()
            except UnicodeDecodeError:
                raise invalid_field(name, expected="UTF-8 text", got="other bytes", remedy="Send text.") from None
        self._close()

    def _on_end(self) -> None:
        self._is_whole = True

    def _close(self) -> None:
        if self._file is not None:
            _, file = self._file
            self._file = None
            file.flush()
            os.fsync(file.fileno())
            file.close()


def check_clip(stored: StoredFile) -> str:
    """Returns the suffix that fits a stored clip's content.

    Raises:
        GapscopeError: when the file is empty (422) or begins like no container that is decoded (415).
    """
    if stored.size == 0:
        raise _empty(stored.name)
    with stored.path.open("rb") as file:
        suffix = sniff(file.read(SNIFFED_BYTES))
    if suffix is None:
        raise UnsupportedMediaError(
            f"{stored.name}: expected mp4, mov, mkv, webm, avi, flv, wav, mp3, ogg or flac; "
            f"{stored.filename!r} begins like none of them. Convert it, for instance with ffmpeg.",
        )
    return suffix


def _empty(name: str) -> GapscopeError:
    return invalid_field(name, expected="a clip", got="an empty file", remedy="Choose another file.", code="empty-file")
