"""A stack of our own for measuring, started as a user starts it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.backend.stack.running import RunningStack, start_stack, stop_stack, wait_for_stack
from tests.stack.driving import Api


@contextmanager
def running_stack() -> Iterator[tuple[RunningStack, Api, float]]:
    """Yields a stack on an empty home, its API, and the seconds that it took to be ready."""
    with tempfile.TemporaryDirectory(prefix="gapscope-bench-") as folder:
        home, started = Path(folder) / "home", time.perf_counter()
        process = start_stack(home)
        try:
            stack = wait_for_stack(home, process)
            seconds = time.perf_counter() - started
            with closing(Api(stack.api_url)) as api:
                yield stack, api, seconds
        finally:
            stop_stack(process)
