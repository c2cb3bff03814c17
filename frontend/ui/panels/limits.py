"""Limits and what is deleted by itself, as the page System tells them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import pandas as pd
import streamlit as st

from frontend.ui import words
from worker.contract.upkeep import LimitUse, SweepFacts

SWEPT: Final = {
    "trash": "deleted run",
    "scores": "score",
    "batches": "batch",
    "derived": "clip for browsers",
    "stores": "unused store",
    "leftovers": "broken upload",
}
_PLURALS: Final = {"batch": "batches", "clip for browsers": "clips for browsers"}
COLUMNS: Final = ("What", "Used", "At most", "Beyond it", "Set by")


def draw(limits: list[LimitUse], sweep: SweepFacts | None) -> None:
    """Draws a table of the limits, and a line on what was deleted.

    Args:
        limits: empty while Redis does not answer.
        sweep: None of a backend that says nothing of it.
    """
    if limits:
        shown = [tuple(words.plain(cell) for cell in row) for row in limit_rows(limits)]
        st.table(pd.DataFrame(shown, columns=list(COLUMNS)), border="horizontal", hide_index=True)
    else:
        st.caption("Not known while Redis does not answer.")
    if sweep is not None:
        st.caption(swept_line(sweep))


def limit_rows(limits: list[LimitUse]) -> list[tuple[str, ...]]:
    """Returns what the table says: what, how much of it is used, how much there may be, what then, and what sets it."""
    return [
        (
            limit.title,
            _used(limit),
            _amount(limit, limit.limit),
            "refused" if limit.refuses else "the oldest goes",
            limit.setting,
        )
        for limit in limits
    ]


def full(limits: list[LimitUse]) -> list[str]:
    """Returns what is refused now, in words with a remedy; what only the oldest goes from is never full."""
    return [
        f"**{words.plain(limit.title)}**: {_amount(limit, limit.used)} of {_amount(limit, limit.limit)}, so more is "
        f"refused. Wait, cancel or delete some, or raise `{limit.setting}`."
        for limit in limits
        if limit.refuses and limit.limit is not None and limit.used >= limit.limit
    ]


def swept_line(sweep: SweepFacts, now: datetime | None = None) -> str:
    """Returns what was deleted by itself since the backend started."""
    if sweep.swept_at is None:
        return "What is too old or too much is deleted once a minute; not looked yet."
    looked = f"What is too old or too much is deleted once a minute; last looked {words.ago(sweep.swept_at, now)}"
    if not sweep.parts:
        return f"{looked}. Nothing was deleted since the backend started."
    told = ", ".join(_number(part.number, SWEPT.get(part.name, part.name)) for part in sweep.parts if part.number)
    what = f" ({told})" if told else ""
    return (
        f"{looked}. Since the backend started {words.size(sweep.freed_bytes)} were freed{what}, the last of it "
        f"{words.ago(sweep.freed_at, now)}."
    )


def _number(number: int, singular: str) -> str:
    return f"{number:,} {_PLURALS[singular]}" if number != 1 and singular in _PLURALS else words.count(number, singular)


def _used(limit: LimitUse) -> str:
    part = f" ({words.percent(limit.used / limit.limit, 0)})" if limit.limit and limit.used else ""
    return _amount(limit, limit.used) + part


def _amount(limit: LimitUse, amount: int | None) -> str:
    if amount is None:
        return "the disk"
    return words.size(amount) if limit.unit == "bytes" else f"{amount:,}"
