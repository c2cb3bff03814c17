"""Units run first, the browser last, and no file is torn apart."""

from __future__ import annotations

import pytest

from tests.order import BROWSER, FAULTS, STACK, UNIT, file_of, keys_of


def test_stages_follow_each_other_and_a_file_goes_with_its_latest_test() -> None:
    tests: list[tuple[str, tuple[str, ...]]] = [
        ("tests/browser/test_few.py", ("page", "stack")),
        ("tests/browser/test_many.py", ("page",)),
        ("tests/browser/test_many.py", ("page",)),
        ("tests/faults/test_media.py", ()),
        ("tests/frontend/cli/test_commands.py", ()),
        ("tests/frontend/cli/test_commands.py", ("api", "stack")),
        ("tests/worker/test_model.py", ("tmp_path",)),
    ]
    keys = keys_of(tests)
    assert [(file, keys[file][0]) for file in sorted(keys, key=keys.__getitem__)] == [
        ("tests/worker/test_model.py", UNIT),
        ("tests/frontend/cli/test_commands.py", STACK),
        ("tests/faults/test_media.py", FAULTS),
        ("tests/browser/test_many.py", BROWSER),
        ("tests/browser/test_few.py", BROWSER),
    ]


def test_this_session_runs_in_that_order(request: pytest.FixtureRequest) -> None:
    files = [file_of(item.nodeid) for item in request.session.items]
    keys = keys_of((file_of(item.nodeid), item.fixturenames) for item in request.session.items)  # type: ignore[attr-defined]
    assert files == sorted(files, key=keys.__getitem__)
