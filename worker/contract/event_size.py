"""Makes an event fit: what may be shortened is, the rest is refused before anything depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic_core import to_json

from worker.contract.errors import TrainingError
from worker.contract.events import (
    MAX_EVENT_BYTES,
    EpochFinished,
    Event,
    RunFailed,
    RunInterrupted,
    RunResumed,
    RunStarted,
)

LEFT_OUT: Final = "values_left_out"
"""What an epoch's `method` says where some of its values did not fit: how many."""
_STAMP_BYTES: Final = 256
"""What number, run, attempt and time may add to an event."""
_NO_STAMP: Final = {"seq": 0, "run_id": "", "attempt": 0, "time": None}
T = TypeVar("T")
Value = float | str | bool | None


def fitted(event: Event, max_bytes: int = MAX_EVENT_BYTES) -> Event:
    """Returns an event that an archive takes: itself, or shortened the same way each time.

    Shortened are the list of classes (the store has them all), an epoch's loss terms and the method's own values (those
    at the end go), and texts of reasons. Reports of splits, on which pages and comparisons rest, never are.

    Args:
        event: stamped or not.
        max_bytes: of its JSON.

    Raises:
        TrainingError: code `event-too-large`, when it is too long all the same.
    """
    room = max_bytes - _STAMP_BYTES
    if _size(event) <= room:
        return event
    shorter = _shortened(event, room)
    if (size := _size(shorter)) > room:
        raise TrainingError(
            f"The event {event.type} takes {size:,} bytes; at most {room:,} are allowed, and nothing of it can be left "
            "out. Let the method or the plug-in report less, or raise GAPSCOPE_MAX_EVENT_BYTES.",
            code="event-too-large",
        )
    return shorter


def _shortened(event: Event, max_bytes: int) -> Event:
    match event:
        case RunStarted():
            room = max_bytes - _size(event.model_copy(update={"classes": []}))
            return event.model_copy(update={"classes": _first(event.classes, room)})
        case EpochFinished():
            return _shortened_epoch(event, max_bytes)
        case RunResumed():
            room = max_bytes - _size(event.model_copy(update={"differences": []}))
            return event.model_copy(update={"differences": _first(event.differences, room)})
        case RunInterrupted():
            room = max_bytes - _size(event.model_copy(update={"reason": ""}))
            return event.model_copy(update={"reason": _cut(event.reason, room)})
        case RunFailed():
            bare = event.error.model_copy(update={"errors": None, "detail": ""})
            room = max_bytes - _size(event.model_copy(update={"error": bare}))
            detail = _cut(event.error.detail, room)
            return event.model_copy(update={"error": bare.model_copy(update={"detail": detail})})
    return event


def _shortened_epoch(event: EpochFinished, max_bytes: int) -> EpochFinished:
    empty = event.model_copy(update={"loss_terms": {}, "method": {LEFT_OUT: 1e9}})
    room = max_bytes - _size(empty)
    terms = _first_of(event.loss_terms, room)
    values: dict[str, Value] = _first_of(event.method, room - len(to_json(terms)))
    left_out = len(event.loss_terms) - len(terms) + len(event.method) - len(values)
    return event.model_copy(update={"loss_terms": terms, "method": {**values, LEFT_OUT: float(left_out)}})


def _size(event: Event) -> int:
    """Returns the bytes of an event's JSON without its stamp, so that it is shortened alike before and after."""
    return len(event.model_copy(update=_NO_STAMP).model_dump_json().encode())


def _first(texts: list[str], room: int) -> list[str]:
    """Returns the first of some texts that fit into so many bytes of JSON."""
    kept = []
    for text in texts:
        room -= len(to_json(text)) + 1
        if room < 0:
            break
        kept.append(text)
    return kept


def _first_of(values: Mapping[str, T], room: int) -> dict[str, T]:
    """Returns those of some named values that fit into so many bytes of JSON, taken in their order."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        size = len(to_json({name: value}, inf_nan_mode="constants"))
        if size <= room:
            room -= size
            kept[name] = value
    return kept


def _cut(text: str, room: int) -> str:
    """Returns the beginning of a text that takes at most so many bytes in JSON."""
    end = len(text)
    while end and len(to_json(text[:end])) > room - 4:
        end = end * 3 // 4
    return text if end == len(text) else f"{text[:end]} ..."
