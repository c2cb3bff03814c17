"""The order of the tests: what is quick to say that something is broken comes first. Files stay whole.

Units, then files that need the stack that all tests share, then faults and other stacks of their own, then the browser,
there the files with the most tests first, so that the last ones to run are short.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import PurePath

UNIT, STACK, FAULTS, BROWSER = range(4)
OWN_STACKS = ("tests/faults", "tests/docker", "tests/stack/test_kill.py", "tests/stack/test_backup.py")
Key = tuple[int, int, str]


def stage_of(path: str, fixtures: Collection[str]) -> int:
    """Returns the stage of a test.

    Args:
        path: of its file, from the repository's root.
        fixtures: the names of all fixtures that it uses.
    """
    if path.startswith("tests/browser/"):
        return BROWSER
    if path.startswith(OWN_STACKS):
        return FAULTS
    return STACK if "stack" in fixtures else UNIT


def keys_of(tests: Iterable[tuple[str, Collection[str]]]) -> dict[str, Key]:
    """Returns the place of each file: its latest stage, in the browser the number of its tests, its name.

    Args:
        tests: file and fixtures of each test.
    """
    stages: dict[str, list[int]] = defaultdict(list)
    for path, fixtures in tests:
        stages[path].append(stage_of(path, fixtures))
    return {path: (max(found), -len(found) if max(found) == BROWSER else 0, path) for path, found in stages.items()}


def file_of(nodeid: str) -> str:
    """Returns the file of a test by its id."""
    return str(PurePath(nodeid.partition("::")[0]))
