"""The events are what the golden files say, to the letter: renaming a field breaks every client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from worker.contract.events import EVENT, MAX_EVENT_BYTES, EventBase, parse_event

GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "events").glob("*.json"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_event_survives_a_round_trip_unchanged(path: Path) -> None:
    document = json.loads(path.read_text())
    event = parse_event(path.read_bytes())
    assert json.loads(event.model_dump_json()) == document
    assert event.type == path.stem
    assert len(event.model_dump_json()) <= MAX_EVENT_BYTES


def test_every_event_type_has_a_golden_file() -> None:
    types = {subclass.model_fields["type"].default for subclass in EventBase.__subclasses__()}
    assert types == {path.stem for path in GOLDEN}


def test_unknown_field_is_refused() -> None:
    document = json.loads(GOLDEN[0].read_text()) | {"surprise": 1}
    with pytest.raises(ValidationError, match="surprise"):
        EVENT.validate_python(document)


@pytest.mark.parametrize(("format_number", "readable"), [(1, True), (0, True), (2, False)])
def test_reader_takes_its_format_and_the_one_before(format_number: int, readable: bool) -> None:
    text = json.dumps(json.loads(GOLDEN[0].read_text()) | {"format": format_number})
    if readable:
        assert parse_event(text).format == format_number
    else:
        with pytest.raises(ValueError, match="format 2"):
            parse_event(text)
