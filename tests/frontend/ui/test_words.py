from __future__ import annotations

import ast
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from frontend.ui import words
from worker.contract.events import Phase, Role, Stage, UnimodalSource
from worker.contract.resources import DatasetState
from worker.contract.scores import JobState

UI = Path("frontend/ui")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, "–"), (0.4, "0 s"), (59, "59 s"), (80, "1 min 20 s"), (7_500, "2 h 5 min"), (100_000, "1 d 3 h")],
)
def test_durations(seconds: float | None, expected: str) -> None:
    assert words.duration(seconds) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("dog", "dog"), ("a dog barks", "a dog barks"), ("a dog barks far", "a dog bark…")]
)
def test_long_texts_are_shortened(text: str, expected: str) -> None:
    assert words.shortened(text, 11) == expected


def test_of_a_long_name_the_end_is_kept() -> None:
    assert words.ending("train__dog__clip-0001.mp4", 15) == "…_clip-0001.mp4"
    assert words.ending("clip-1", 15) == "clip-1"


def test_numbers() -> None:
    assert words.percent(0.9337) == "93.4\u00a0%"
    assert words.percent(None) == "–"
    assert words.signed(0.5) == "+0.50"
    assert words.size(12_345_678) == "12.3 MB"
    assert words.size(512) == "512 B"
    assert words.count(1, "clip") == "1 clip"
    assert words.count(2_000, "clip") == "2,000 clips"


def test_moments() -> None:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    assert words.ago(now - timedelta(minutes=3), now) == "3 min ago"
    assert words.ago(None) == "–"


def test_everything_of_the_contract_has_words() -> None:
    assert set(get_args(JobState)) | set(get_args(DatasetState)) == set(words.STATES)
    assert set(words.STATES) == set(words.STATE_COLOURS) == set(words.STATE_ICONS)
    assert set(get_args(Stage)) == set(words.STAGES)
    assert set(get_args(Phase)) == set(words.PHASES)
    assert set(get_args(Role)) == set(words.ROLES)
    assert set(get_args(UnimodalSource)) == set(words.SOURCES)


def test_no_forbidden_word_stands_in_a_text() -> None:
    for path in UI.rglob("*.py"):
        source = path.read_text()
        for word in ("disease", "cure", "cartography", "modality imbalance"):
            assert not re.search(rf"\b{word}\b", source, re.IGNORECASE), f"{word} in {path}"


def test_files_are_short() -> None:
    for path in UI.rglob("*.py"):
        assert len(path.read_text().splitlines()) < 400, path


def test_no_folder_is_called_pages() -> None:
    assert not (UI / "pages").exists(), "Streamlit would run the modules in it by themselves"


@pytest.mark.parametrize(
    ("data", "drawn"),
    [
        ("plain words", "plain words"),
        ("a_b *c* [d](e)", r"a\_b \*c\* \[d\](e)"),
        ("# 1\n- x", r"\# 1 - x"),
        ("- x", r"\- x"),
        ("1. x", "1\u2060. x"),
        ("$x$ <b> `c`", r"\$x\$ \<b\> \`c\`"),
        (":red[x] :smile: 10:30", ":\u2060red\\[x\\] :\u2060smile: 10:\u206030"),
        ("me@example.org www.example.org", "me@\u2060example.org www\u2060.example.org"),
    ],
)
def test_data_is_drawn_letter_by_letter(data: str, drawn: str) -> None:
    assert words.plain(data) == drawn


def test_every_chart_has_a_text_for_those_who_cannot_see_it() -> None:
    for path in UI.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("st.altair_chart", "st.vega_lite_chart"):
                names = {keyword.arg for keyword in node.keywords}
                assert {"alt", None} & names, f"{path}:{node.lineno}: say in alt= what the chart shows"


def test_code_in_a_message_stays_code_and_the_rest_is_text() -> None:
    assert words.message("No `a*b` in *x*_y") == r"No `a*b` in \*x\*\_y"
    assert words.message("one ` alone") == r"one \` alone"
