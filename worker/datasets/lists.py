"""Reading the list files that say which clip is in which split: bounded, checked, faults named by line."""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from worker.contract.errors import DatasetError

MAX_REPORTED = 10
"""Faults that a message names; the rest is counted."""
MAX_LIST_BYTES = 256 << 20
"""Of a list, which is read whole: with 200 characters a line more than a million clips."""


@dataclass(frozen=True, slots=True)
class ListLine:
    """One line of a list, cut at its separators, without spaces around the fields."""

    number: int
    fields: tuple[str, ...]


def read_regular_file(path: Path, *, what: str, code: str) -> bytes:
    """Returns what is in a regular file: reading a pipe or a device might never end.

    Args:
        path: the file.
        what: it should be, for people.
        code: of the error where it is too long.

    Raises:
        OSError: it cannot be opened.
        DatasetError: dataset-not-found, when it is no regular file; `code`, when it is too long.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DatasetError(f"{path} is no regular file. Give the path of a {what}.", code="dataset-not-found")
        content = file.read(MAX_LIST_BYTES + 1)
    if len(content) > MAX_LIST_BYTES:
        raise DatasetError(f"{path.name} has more than {MAX_LIST_BYTES >> 20:,} MiB. Is it the {what}?", code=code)
    return content


def read_text(path: Path) -> str:
    """Returns the text of a list file.

    Raises:
        DatasetError: dataset-not-found, dataset-bad-list.
    """
    try:
        return read_regular_file(path, what="list", code="dataset-bad-list").decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"Expected a list at {path}: {error.strerror}.", code="dataset-not-found") from None
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path.name} is no UTF-8 text (byte {error.start}). Is it the list?", code="dataset-bad-list"
        ) from None


def read_lines(path: Path, separator: str, form: str, *, has_header: bool = False) -> list[ListLine]:
    """Returns the non-empty lines of a list, each with as many fields as its form.

    Args:
        path: the list.
        separator: one character; a comma may stand inside double quotes.
        form: the fields, joined by the separator, such as `clip,LABEL`.
        has_header: the first line names the columns.

    Raises:
        DatasetError: dataset-not-found; dataset-bad-list, naming the first ten lines that do not fit.
    """
    lines = list(_lines(path, read_text(path), separator))[has_header:]
    number = form.count(separator) + 1
    faults = [
        f"line {line.number} has {len(line.fields)} ({separator.join(line.fields)[:80]})"
        if len(line.fields) != number
        else f"line {line.number} has an empty field"
        for line in lines
        if len(line.fields) != number or not all(line.fields)
    ]
    if faults:
        refuse_lines(path, f"{number} fields a line ({form})", faults)
    if not lines:
        raise DatasetError(f"{path.name} lists no clip; expected lines of {form}.", code="dataset-bad-list")
    return lines


def refuse_lines(path: Path, expected: str, faults: Sequence[str], *, code: str = "dataset-bad-list") -> NoReturn:
    """Refuses a list, naming its first ten faults.

    Raises:
        DatasetError: always.
    """
    raise DatasetError(f"{path.name}: expected {expected}; got: {first_of(faults)}.", code=code)


def first_of(names: Sequence[str]) -> str:
    """Returns the first ten names, and how many more there are."""
    more = f" ... and {len(names) - MAX_REPORTED:,} more" if len(names) > MAX_REPORTED else ""
    return f"{'; '.join(names[:MAX_REPORTED])}{more}"


def _lines(path: Path, text: str, separator: str) -> Iterator[ListLine]:
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE,
        skipinitialspace=True,
        strict=True,
    )
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield ListLine(reader.line_num, tuple(field.strip() for field in fields))
    except csv.Error as error:
        raise DatasetError(f"{path.name}, line {reader.line_num}: {error}.", code="dataset-bad-list") from None
