"""A chart as a file: SVG and PDF for papers, CSV for notebooks, each with what it shows written in it."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pandas as pd

from frontend.cells import safe_cell
from worker.contract.errors import GapscopeError

Format = Literal["svg", "pdf"]
WIDTH: Final = 560
"""Pixels of a chart that takes the width of its page on the screen."""
TIMEOUT_S: Final = 30.0
MAX_SPEC_BYTES: Final = 20_000_000
PAPER: Final[dict[str, Any]] = {
    "background": "white",
    "font": "Helvetica, Arial, sans-serif",
    "axis": {"labelFontSize": 11, "titleFontSize": 12},
    "legend": {"labelFontSize": 11},
    "view": {"stroke": "#d0d4dc"},
}


class ChartNotSavedError(GapscopeError):
    """The chart could not be drawn into a file."""

    default_code = "chart-not-saved"


@dataclass(frozen=True)
class Caption:
    """What a chart shows; it is written into each file."""

    run: str = ""
    epoch: int | None = None
    split: str = ""
    num_samples: int | None = None
    rule: str = ""
    """Which samples, where not all: the filters, in words."""

    def parts(self) -> list[str]:
        """Returns what is known, in a fixed order."""
        return [
            *([self.run] if self.run else []),
            *([f"epoch {self.epoch}"] if self.epoch is not None else []),
            *([f"{self.split} split"] if self.split else []),
            *([f"n = {self.num_samples:,}"] if self.num_samples is not None else []),
            self.rule or "all samples",
        ]

    def __str__(self) -> str:
        """Returns the caption as a line."""
        return " · ".join(self.parts())


def captioned(spec: Mapping[str, Any], title: str, caption: Caption) -> dict[str, Any]:
    """Returns a chart's specification for paper: light, of a fixed width, with title and caption in it.

    Args:
        spec: Vega-Lite.
        title: of the chart.
        caption: what it shows.
    """
    made = {**spec, "config": {**spec.get("config", {}), **PAPER}}
    made["title"] = {"text": title, "subtitle": str(caption), "anchor": "start", "fontSize": 14, "subtitleFontSize": 11}
    made["title"]["offset"] = 12
    if made.get("width") in (None, "container"):
        made["width"] = WIDTH
    made.pop("autosize", None)
    return made


def drawn(spec: Mapping[str, Any], kind: Format) -> bytes:
    """Returns a chart as SVG or PDF.

    A process of its own draws it and ends: its JavaScript engine would hold some hundred megabytes in ours.

    Args:
        spec: Vega-Lite, as `captioned` gives it.
        kind: svg or pdf.

    Raises:
        ChartNotSavedError: when it cannot be drawn.
    """
    command = [sys.executable, "-m", "frontend.ui.charts.drawing", kind]
    try:
        done = subprocess.run(command, input=json.dumps(spec).encode(), capture_output=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise ChartNotSavedError(f"The chart was not drawn within {TIMEOUT_S:.0f} s; try again.") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ChartNotSavedError(f"The chart could not be drawn: {lines[-1][:300] if lines else 'no reason given'}.")
    return done.stdout


def table(spec: Mapping[str, Any], caption: Caption) -> str:
    """Returns a chart's data as CSV; lines before the header that begin with # say what it shows.

    A layered chart with several tables gives them all, told apart by the column `part`. Text that a spreadsheet would
    take for a formula begins with an apostrophe instead.
    """
    parts = [rows for rows in tables(spec) if rows]
    several = len(parts) > 1
    rows = [{**({"part": number} if several else {}), **row} for number, part in enumerate(parts, 1) for row in part]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    text.write("".join(f"# {line}\n" for line in caption.parts()))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([safe_cell(name) for name in columns])
    writer.writerows([[safe_cell(row.get(name)) for name in columns] for row in rows])
    return text.getvalue()


def tables(spec: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """Returns the tables that a specification holds, each once, in the order in which its layers draw them."""
    named: Mapping[str, list[dict[str, Any]]] = spec.get("datasets", {})
    order = list(dict.fromkeys(_data_names(spec)))
    inline = [data["values"] for data in _data(spec) if isinstance(data.get("values"), list)]
    return [*(named[name] for name in order if name in named), *inline]


def _data(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = [spec["data"]] if isinstance(spec.get("data"), Mapping) else []
    for key in ("layer", "hconcat", "vconcat", "concat"):
        children: Sequence[Mapping[str, Any]] = spec.get(key, ())
        for child in children:
            found += _data(child)
    return found + (_data(spec["spec"]) if isinstance(spec.get("spec"), Mapping) else [])


def _data_names(spec: Mapping[str, Any]) -> list[str]:
    return [data["name"] for data in _data(spec) if "name" in data]


def in_csv(table: pd.DataFrame) -> bytes:
    """Returns a data frame as CSV in which no spreadsheet takes text for a formula."""
    return bytes(table.map(safe_cell).rename(columns=safe_cell).to_csv(index=False).encode())


def file_name(title: str, caption: Caption, kind: str) -> str:
    """Returns a name for the file, of letters, digits and hyphens."""
    words = "-".join(part for part in (caption.run, title, f"epoch {caption.epoch}" if caption.epoch else "") if part)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:80] + f".{kind}"
