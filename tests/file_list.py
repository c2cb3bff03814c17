"""The README's list of files: one line a file, from the first line of each module's docstring.

`python -m tests.file_list` writes it anew; tests/test_docs.py fails when it is out of date.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- files: begin -->", "<!-- files: end -->"
PACKAGES = ("worker", "backend", "frontend")


def purpose(path: Path) -> str:
    """Returns the first sentence line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    return docstring.splitlines()[0] if docstring else ""


def file_list() -> str:
    """Returns the list as Markdown: a table a package."""
    lines: list[str] = []
    for package in PACKAGES:
        lines += [f"<details><summary><code>{package}/</code></summary>", "", "| | |", "|---|---|"]
        for path in sorted((ROOT / package).rglob("*.py")):
            text = purpose(path)
            if text:
                lines.append(f"| `{path.relative_to(ROOT)}` | {text.replace('|', chr(92) + '|')} |")
        lines += ["", "</details>", ""]
    return "\n".join(lines)


def with_list(readme: str) -> str:
    """Returns the README with the list between its marks."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{file_list()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    README.write_text(with_list(README.read_text()))
