"""A fake API, and the command line as a test calls it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from frontend.cli.main import cli
from tests.frontend.client.fake_api import FakeApi, serving

Run = Callable[..., Result]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as fake:
        yield fake


@pytest.fixture
def gapscope(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `gapscope ARGUMENTS` against the fake; what goes to standard error is kept apart."""
    monkeypatch.setenv("GAPSCOPE_API_URL", api.url)
    return lambda *arguments: CliRunner().invoke(cli, list(arguments), prog_name="gapscope")
