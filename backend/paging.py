"""Sorting and keyset cursors: a cursor pins filter, sort and epoch, so that pages neither repeat nor skip.

A cursor is base64 of JSON `{"v": 1, "f": digest of the pinned parameters, "e": epoch or null, "k": last sort value,
"i": last id}`. It is opaque to clients and checked like any other input.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from backend.problems import invalid_field
from worker.contract.errors import InvalidRequestError

Key = str | int | float | None
T = TypeVar("T")

MAX_PAGE = 500
MAX_CURSOR = 1_024
_VERSION = 1


@dataclass(frozen=True)
class Sort:
    """What a list is sorted by."""

    field: str
    descending: bool

    @classmethod
    def parse(cls, text: str) -> Sort:
        """Returns the sort that a parameter such as `-gap` names."""
        return cls(text.removeprefix("-"), text.startswith("-"))


@dataclass(frozen=True)
class Cursor:
    """The last row of a page."""

    key: Key
    id: str
    epoch: int | None = None


def fingerprint(parameters: Mapping[str, object]) -> str:
    """Returns a digest of what a cursor pins; parameters that are None do not count."""
    pinned = {name: value for name, value in parameters.items() if value is not None}
    return hashlib.sha256(json.dumps(pinned, sort_keys=True, default=str).encode()).hexdigest()[:16]


def encode_cursor(cursor: Cursor, pinned: str) -> str:
    """Returns a cursor as text for the wire.

    Args:
        cursor: the last row of the page.
        pinned: `fingerprint` of filter and sort.
    """
    document = {"v": _VERSION, "f": pinned, "e": cursor.epoch, "k": cursor.key, "i": cursor.id}
    return base64.urlsafe_b64encode(json.dumps(document, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(text: str, pinned: str) -> Cursor:
    """Returns the row after which the next page begins.

    Args:
        text: what the client sent.
        pinned: `fingerprint` of this request's filter and sort.

    Raises:
        InvalidRequestError: code `invalid-cursor`, when the text is no cursor of ours or belongs to another filter.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        document = json.loads(raw)
    except (binascii.Error, ValueError, RecursionError):
        raise invalid_cursor(text) from None
    if not isinstance(document, dict) or set(document) != {"v", "f", "e", "k", "i"} or document["v"] != _VERSION:
        raise invalid_cursor(text)
    key, row_id, epoch = document["k"], document["i"], document["e"]
    if document["f"] != pinned or not _is_text(row_id) or not _is_key(key) or not _is_epoch(epoch):
        raise invalid_cursor(text)
    return Cursor(key, row_id, epoch)


def _is_key(key: object) -> bool:
    if isinstance(key, bool):
        return False
    if isinstance(key, float):
        return math.isfinite(key)
    if isinstance(key, int):
        return abs(key) < 2**63
    return key is None or _is_text(key)


def _is_text(value: object) -> bool:
    """Returns whether a value is text that can be written down: JSON can spell half of a UTF-16 pair alone."""
    return isinstance(value, str) and not any("\ud800" <= sign <= "\udfff" for sign in value)


def _is_epoch(epoch: object) -> bool:
    return epoch is None or (isinstance(epoch, int) and not isinstance(epoch, bool) and 0 < epoch < 2**31)


def invalid_cursor(text: str) -> InvalidRequestError:
    """Returns the error for a cursor that is none of ours, or belongs to another filter."""
    return invalid_field(
        "cursor",
        expected="the `next` of a page with the same filter and sort",
        got=repr(text[:80]),
        remedy="Start again without a cursor.",
        code="invalid-cursor",
    )


def page_of(
    rows: Iterable[T],
    *,
    key: Callable[[T], Key],
    row_id: Callable[[T], str],
    sort: Sort,
    after: Cursor | None,
    limit: int,
) -> tuple[list[T], Cursor | None]:
    """Returns one page of rows in memory, and the cursor of the next one or None at the end.

    Rows without a value come last in both directions; ties go by id.

    Args:
        rows: all rows of the filter, in any order.
        key: returns what a row is sorted by; strings or numbers, not both.
        row_id: returns a row's id.
        sort: field (for the caller) and direction.
        after: the last row of the page before.
        limit: rows of a page, at least 1.
    """
    ordered = sorted(rows, key=row_id)
    ordered.sort(key=lambda row: _orderable(key(row)), reverse=sort.descending)
    ordered.sort(key=lambda row: key(row) is None)
    if after is not None:
        ordered = [row for row in ordered if _comes_after(key(row), row_id(row), after, sort.descending)]
    page = ordered[:limit]
    if len(ordered) <= limit:
        return page, None
    return page, Cursor(key(page[-1]), row_id(page[-1]))


def _orderable(key: Key) -> tuple[int, float, str]:
    if key is None:
        return (0, 0.0, "")
    return (1, 0.0, key) if isinstance(key, str) else (0, float(key), "")


def _comes_after(key: Key, row_id: str, after: Cursor, descending: bool) -> bool:
    if key is None:
        return after.key is not None or row_id > after.id
    if after.key is None:
        return False
    here, there = _orderable(key), _orderable(after.key)
    if here != there:
        return here < there if descending else here > there
    return row_id > after.id
