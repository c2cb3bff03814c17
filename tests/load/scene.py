"""What clients look at: a real stack with many finished runs, one of them large, and one run that trains."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.backend.stack.running import RunningStack, start_stack, stop_stack, wait_for_stack
from tests.stack.driving import ENDED, Api, wait_for
from worker.contract.layout import Home, new_id

LARGE: Final = (10_000, 10)
"""Clips and epochs of the large run."""
IDS_KEPT: Final = 200


@dataclass(frozen=True)
class Scene:
    """Where clients find what."""

    stack: RunningStack
    api_url: str
    training: str
    """A run with finished epochs: its samples are opened, and clips are scored by it."""
    follows: str
    """The run that is followed: the same, unless runs come one after another."""
    with_samples: tuple[str, ...]
    """Runs whose samples are opened."""
    sample_ids: dict[str, list[str]]
    clip: bytes
    """A small clip for uploads."""


@contextmanager
def open_scene(spec: dict[str, Any], num_runs: int) -> Iterator[Scene]:
    """Yields a scene on a stack of its own.

    Args:
        spec: of the run that trains; enough epochs to outlast the clients.
        num_runs: finished runs in the list beside it.
    """
    with tempfile.TemporaryDirectory(prefix="gapscope-load-") as folder:
        home = Home(Path(folder) / "home")
        finished = _write_runs(home, num_runs, *LARGE)
        process = start_stack(home.path)
        try:
            stack = wait_for_stack(home.path, process)
            with closing(Api(stack.api_url)) as api, training(stack, api, spec, finished[:1]) as scene:
                yield scene
        finally:
            stop_stack(process)


@contextmanager
def training(stack: RunningStack, api: Api, spec: dict[str, Any], others: list[str] | None = None) -> Iterator[Scene]:
    """Yields a scene on a stack that runs, once the run of a spec has finished its first epoch; cancels it at the end.

    Args:
        stack: where.
        api: of the stack.
        spec: of the run that trains.
        others: finished runs whose samples are opened too.
    """
    run = api.launch(spec)
    try:
        api.wait_for_epoch(run, 1, timeout_s=180)
        yield _scene(stack, api, run, others or [])
    finally:
        api.http.post(f"/runs/{run}/cancel")
        api.wait_for_state(run, ENDED, timeout_s=60)


def _write_runs(home: Home, count: int, samples: int, epochs: int) -> list[str]:
    """Writes a large run, in a process that may load torch, and copies of it without its tables; returns their ids."""
    command = [sys.executable, "-m", "tests.bench.big_run", str(home.path)]
    sizes = ["--samples", str(samples), "--epochs", str(epochs)]
    made = subprocess.run([*command, *sizes], capture_output=True, text=True, check=True)
    first = made.stdout.split()[-1]
    ids = [first]
    for _ in range(count - 1):
        copy = home.run(new_id("run"))
        shutil.copytree(home.run(first).path, copy.path, ignore=shutil.ignore_patterns("*.parquet", "*.f32"))
        document = json.loads(copy.spec.read_text())
        copy.spec.write_text(json.dumps(document | {"id": copy.path.name}))
        ids.append(copy.path.name)
    return ids


def _scene(stack: RunningStack, api: Api, run: str, others: list[str]) -> Scene:
    runs = (run, *others)
    wait_for(lambda: all(api.http.get(f"/runs/{one}").status_code == 200 for one in runs), "the runs are there")
    ids = {
        one: [row["sample_id"] for row in api.get(f"/runs/{one}/samples", split="train", limit=IDS_KEPT)["items"]]
        for one in runs
    }
    clips = sorted(stack.home.glob("datasets/*/clips/**/*.mp4"))
    return Scene(stack, stack.api_url, run, run, runs, ids, clips[0].read_bytes())
