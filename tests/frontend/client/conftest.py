"""A fake API, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from frontend.client import GapscopeClient
from tests.frontend.client.fake_api import FakeApi, serving


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as fake:
        yield fake


@pytest.fixture
def client(api: FakeApi) -> Iterator[GapscopeClient]:
    with GapscopeClient(api.url, timeout_s=5.0) as made:
        yield made
