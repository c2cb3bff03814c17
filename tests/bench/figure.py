"""One measured figure and how a table of them is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A measured figure beside what it must reach."""

    what: str
    measured: str
    target: str = ""
    reached: bool | None = None


def table(name: str, figures: list[Figure]) -> str:
    """Returns the figures of a section as a Markdown table."""
    marks = {True: "yes", False: "**no**", None: ""}
    rows = [f"| {figure.what} | {figure.measured} | {figure.target} | {marks[figure.reached]} |" for figure in figures]
    head = [f"## {name.replace('_', ' ')}\n", "| | measured | target | reached |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])
