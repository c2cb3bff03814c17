"""The accessibility check: axe-core on the page that a browser shows; what is left out is named here."""

from __future__ import annotations

from typing import Any, Final

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

GRAVE: Final = frozenset({"serious", "critical"})
NOT_OURS: Final = {
    "[class*=brush_]": "Vega draws the empty rectangles of a brush with a role and without a name; charts have a name.",
}
"""Markup that neither we write nor can change -> why it is left out of the check."""


def violations(page: Page) -> list[str]:
    """Returns the serious and critical violations in our own markup, in one line each."""
    context = {"exclude": [[selector] for selector in NOT_OURS]}
    answer: dict[str, Any] = Axe().run(page, context=context).response
    return [
        f"{found['id']} ({found['impact']}): {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for found in answer["violations"]
        if found["impact"] in GRAVE
        for node in found["nodes"]
    ]


def unnamed_charts(page: Page) -> int:
    """Returns how many charts have no text for those who cannot see them."""
    return int(
        page.evaluate(
            "() => [...document.querySelectorAll('[data-testid=stVegaLiteChart]')]"
            ".filter(chart => !chart.getAttribute('aria-label')).length"
        )
    )
