"""Cursors and pages in memory, whatever the rows and whatever a client sends."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.paging import Cursor, Sort, decode_cursor, encode_cursor, fingerprint, page_of
from worker.contract.errors import InvalidRequestError

KEYS = st.none() | st.floats(-1, 1, width=32) | st.integers(-5, 5)
ROWS = st.lists(KEYS, max_size=30).map(lambda keys: [(f"id-{n:02d}", key) for n, key in enumerate(keys)])


@given(
    key=st.none() | st.text(max_size=20) | st.floats(allow_nan=False, allow_infinity=False),
    epoch=st.none() | st.integers(1, 99),
)
def test_cursor_survives_a_round_trip(key: Any, epoch: int | None) -> None:
    cursor = Cursor(key, "some id", epoch)
    assert decode_cursor(encode_cursor(cursor, "pin"), "pin") == cursor


@given(text=st.text(max_size=60))
def test_any_other_text_is_refused_with_its_code(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_cursor(text, "pin")
    assert caught.value.code == "invalid-cursor"


VALID = {"v": 1, "f": "pin", "e": None, "k": 0.5, "i": "a"}


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"f": "other"}, {"e": 0}, {"e": True}, {"k": [1]}, {"k": True}, {"k": float("inf")}, {"i": 1}, {"x": 1}],
)
def test_forged_cursor_is_refused(change: dict[str, Any]) -> None:
    text = base64.urlsafe_b64encode(json.dumps(VALID | change).encode()).decode()
    with pytest.raises(InvalidRequestError):
        decode_cursor(text, "pin")


@given(rows=ROWS, descending=st.booleans(), limit=st.integers(1, 7))
def test_pages_together_are_all_rows_in_order(rows: list[tuple[str, Any]], descending: bool, limit: int) -> None:
    seen: list[tuple[str, Any]] = []
    after: Cursor | None = None
    while True:
        page, after = page_of(
            rows,
            key=lambda row: row[1],
            row_id=lambda row: row[0],
            sort=Sort("x", descending),
            after=after,
            limit=limit,
        )
        assert len(page) <= limit
        seen += page
        if after is None:
            break
    assert sorted(seen, key=lambda row: row[0]) == rows
    keys = [key for _, key in seen if key is not None]
    assert keys == sorted(keys, reverse=descending)
    assert all(key is None for _, key in seen[len(keys) :])


def test_fingerprint_ignores_what_is_not_set() -> None:
    assert fingerprint({"a": 1, "b": None}) == fingerprint({"a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
