"""The REST client of the stack's tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.backend.stack.running import RunningStack
from tests.stack.driving import Api


@pytest.fixture(scope="session")
def api(stack: RunningStack) -> Iterator[Api]:
    """The REST API of the stack that all tests share."""
    with closing(Api(stack.api_url)) as client:
        yield client
