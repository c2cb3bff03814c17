"""A real server over HTTP on a home written as a worker leaves it."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import redis
import uvicorn

from backend.connections import BoundedHttp
from backend.dependencies import Services
from backend.main import create_app
from frontend.client.transport import KEPT_S
from tests.backend.folders import write_dataset, write_run
from tests.conftest import ValkeyServer
from worker.contract.layout import Home
from worker.contract.ledger import Ledger
from worker.contract.settings import Settings

T = TypeVar("T")
UI = "http://127.0.0.1:8501"


@dataclass
class Backend:
    """A running server, and a client for it."""

    http: httpx.Client
    services: Services
    home: Home
    url: str

    @property
    def ledger(self) -> Ledger:
        return self.services.tools.ledger

    def get(self, path: str, **params: Any) -> Any:
        response = self.http.get(path, params=params)
        assert response.status_code == 200, f"{path}: {response.status_code} {response.text[:500]}"
        return response.json()

    def problem(self, response: httpx.Response, status: int, code: str) -> dict[str, Any]:
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = response.json()
        assert document["code"] == code
        return document


@contextmanager
def serving(settings: Settings) -> Iterator[Backend]:
    """Serves the app on a free port until the block ends."""
    app = create_app(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app, host="127.0.0.1", port=0, http=BoundedHttp, log_level="warning", timeout_graceful_shutdown=2, ws="none"
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started, "the server starts")
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        services = app.state.services
        wait_for(lambda: services.live.generation() is not None, "the ledger is rebuilt")
        with httpx.Client(base_url=f"{url}/api/v1", timeout=30, limits=httpx.Limits(keepalive_expiry=KEPT_S)) as client:
            yield Backend(client, services, services.home, url)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in a thread of its own: the browser of other tests keeps a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def wait_for(read: Callable[[], Any], what: str, timeout_s: float = 15.0) -> Any:
    """Returns the first true value of `read()`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = read()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {timeout_s:g} s")


def settings_for(home: Path, redis_url: str, **changes: Any) -> Settings:
    """Returns settings for a test, none of them from the environment."""
    return Settings(home=home, redis_url=redis_url, min_free_bytes=0, min_free_share=0, **changes)


@pytest.fixture(scope="module")
def shared_backend(tmp_path_factory: pytest.TempPathFactory, valkey_server: ValkeyServer) -> Iterator[Backend]:
    """One server for all tests of a module; `backend` empties its home for each."""
    home = tmp_path_factory.mktemp("shared") / "home"
    with serving(settings_for(home, valkey_server.url.replace("/0", "/2"), ui_origin=UI)) as running:
        yield running


@pytest.fixture
def backend(shared_backend: Backend) -> Backend:
    """A server on an empty home and an empty Redis."""
    home = shared_backend.home
    for folder in (home.runs, home.datasets, home.scores, home.batches, home.subsets):
        shutil.rmtree(folder)
        folder.mkdir()
    shared_backend.services.redis.flushdb()  # last: a rebuild in between would bring back what is being removed
    shared_backend.services.live.set_generation("test")
    return shared_backend


@dataclass
class Filled:
    """A server whose home holds a dataset and three finished runs, for tests that only read."""

    backend: Backend
    runs: list[str]
    dataset_id: str

    @property
    def run(self) -> str:
        return self.runs[0]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, valkey_server: ValkeyServer) -> Iterator[Filled]:
    """A server on a filled home; the runs are those of seeds 0, 1 and, with another learning rate, 0."""
    url = valkey_server.url.replace("/0", "/1")
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    home = Home(tmp_path_factory.mktemp("filled") / "home")
    home.create()
    dataset_id = write_dataset(home, count=200)
    dataset = {"dataset": {"id": dataset_id}}
    other = {"optimizer": {"kind": "adamw", "learning_rate": 0.1}, "tags": ["odd"], "name": "another"}
    runs = [
        write_run(home, seed=0, minute=0, **dataset),
        write_run(home, seed=1, minute=1, **dataset),
        write_run(home, seed=0, minute=2, **dataset, **other),
    ]
    with serving(settings_for(home.path, url)) as running:
        yield Filled(running, runs, dataset_id)
