"""What people name is drawn letter by letter on every page: no Markdown, HTML, formula, icon or link of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from frontend.ui import words
from tests.frontend.ui.conftest import Open
from tests.frontend.ui.recorded import RecordedApi, run
from worker.contract.errors import Problem

EVIL = "<b>evil</b> **y** $z$ :smile: [a](javascript:alert(1)) ![](http://x) `c`"
RAW = ("<b>evil", "**y**", "$z$", ":smile:", "[a](", "![](")
DRAWN = ("body", "label", "help")
"""Fields of an element that are drawn as Markdown; values and options of widgets, tables and code are not."""
PAGES = [
    ("runs", {}),
    ("run", {"run": "run-1"}),
    *(("run", {"run": "run-1", "tab": tab}) for tab in ("Samples", "Log", "Configuration", "Export")),
    ("compare", {"runs": "run-1,run-2"}),
    ("test_clip", {"run": "run-1"}),
    ("new_run", {"clone": "run-1"}),
    ("system", {}),
]


def drawn(app: AppTest) -> Iterator[tuple[str, str]]:
    """Yields the kind of each element and block with each text of it that is drawn as Markdown."""
    for node in walk(app._tree):  # the public lists leave out expanders, popovers and menus
        proto = getattr(node, "proto", None)
        for message in (proto, *(getattr(proto, name, None) for name in ("expandable", "tab", "popover", "dialog"))):
            for name in DRAWN:
                if isinstance(text := getattr(message, name, None), str):
                    yield type(node).__name__, text


def walk(node: Any) -> Iterator[Any]:
    yield node
    for child in getattr(node, "children", {}).values():
        yield from walk(child)


@pytest.mark.parametrize(("page", "parameters"), PAGES)
def test_names_tags_notes_and_errors_are_text(
    page: str, parameters: dict[str, str], api: RecordedApi, open_page: Open
) -> None:
    said = {"name": EVIL, "tags": [EVIL[:40]], "notes": EVIL, "state": "failed"}
    error = Problem(type="about:blank", title=EVIL, status=500, code="failed", detail=EVIL)
    api.known = {name: run(name, **said, error=error) for name in ("run-1", "run-2")}
    app = open_page(page, **parameters)
    assert not app.exception
    texts = list(drawn(app))
    for kind, text in texts:
        # What is escaped has a backslash or a joiner in front of, or within, each sign.
        bare = text.replace(words.plain(EVIL), "").replace(words.message(EVIL), "")
        for raw in RAW:
            assert f"\\{raw}" in bare or raw not in bare, f"{page}: {kind} draws {raw!r}: {text[:200]!r}"
    if page == "run":
        assert any("evil" in text for _, text in texts)
