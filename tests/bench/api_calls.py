"""p95 of every call that the Samples page makes, on runs of 10,000, 100,000 and 1,000,000 clips."""

from __future__ import annotations

import itertools
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.backend.stack.running import start_stack, stop_stack, wait_for_stack
from tests.bench.big_run import write_big_run
from tests.bench.figure import Figure
from tests.stack.driving import Api, wait_for
from worker.contract.layout import Home

HOME = "GAPSCOPE_BENCH_HOME"
"""Variable that names a home with such runs, which saves writing them."""
SIZES = {10_000: 200, 100_000: 200, 1_000_000: 2}
TABLE_BYTES = 300_000_000
REPEATS = 40
LIMIT_MS = {10_000: 50.0, 100_000: 50.0, 1_000_000: 150.0}
Parameters = dict[str, Any]


def measure() -> list[Figure]:
    """Returns the p95 of each call at each size, repeats interleaved, each time with other values."""
    with _home() as home:
        process = start_stack(home)
        try:
            stack = wait_for_stack(home, process)
            with closing(Api(stack.api_url)) as api:
                runs = wait_for(lambda: _runs(api), "the runs are there")
                return [figure for size in SIZES for figure in _figures(api.http, runs[size], size)]
        finally:
            stop_stack(process)


@contextmanager
def _home() -> Iterator[Path]:
    if given := os.environ.get(HOME):
        yield Path(given).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="gapscope-bench-") as folder:
        home = Home(Path(folder) / "home")
        for size, epochs in SIZES.items():
            write_big_run(home, size, epochs, max_bytes=TABLE_BYTES)
        yield home.path


def _runs(api: Api) -> dict[int, str] | None:
    found = {int(run["name"].removeprefix("big-")): str(run["id"]) for run in api.get("/runs")["items"]}
    return found if set(found) >= set(SIZES) else None


def _figures(http: httpx.Client, run: str, size: int) -> list[Figure]:
    calls = sample_calls(http, run, size)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()  # opens files and fills what is kept, as the first look at a page does
    for _, (name, call) in itertools.product(range(REPEATS), calls.items()):
        started = time.perf_counter()
        call()
        taken[name].append((time.perf_counter() - started) * 1e3)
    limit = LIMIT_MS[size]
    figures = []
    for name, times in taken.items():
        middle, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        what = f"{size:,} clips: {name}"
        figures.append(Figure(what, f"median {middle:.0f} ms, p95 {p95:.0f} ms", f"{limit:.0f} ms", p95 <= limit))
    return figures


def sample_calls(http: httpx.Client, run: str, size: int) -> dict[str, Callable[[], object]]:
    """Returns the calls of the Samples page by name; each draws its values anew."""
    drawn = random.Random(0)

    def get(path: str, make: Callable[[], Parameters] = dict) -> Callable[[], Any]:
        def call() -> Any:
            answer = http.get(path, params=make())
            assert answer.status_code == 200, answer.text
            return answer.json()

        return call

    def brush() -> Parameters:
        low = round(drawn.uniform(-1, 0.8), 3)
        return {"min_gap": low, "max_gap": round(low + 0.2, 3), "split": "train", "limit": 25}

    def narrowed(**more: Any) -> Callable[[], Parameters]:
        return lambda: {**brush(), **more}

    def sample() -> Any:
        split = ("train", "train", "train", "validation", "test")
        number = drawn.choice([k for k in range(min(size, 1_000)) if split[k % 5] == "train"])
        return http.get(f"/runs/{run}/samples/train__class-{number % 10:02d}__clip-{number:07d}.mp4").raise_for_status()

    def second_page() -> Any:
        path, asked = f"/runs/{run}/samples", brush()
        page = http.get(path, params=asked).json()
        if page["next"]:
            http.get(path, params={**asked, "cursor": page["next"]}).raise_for_status()

    def label() -> str:
        return f"class-{drawn.randrange(10):02d}"

    path = f"/runs/{run}"
    return {
        "run": get(path),
        "brushed samples, by gap": get(f"{path}/samples", brush),
        "brushed samples, by size of gap": get(f"{path}/samples", narrowed(sort="-abs_gap")),
        "all samples, by posterior": get(
            f"{path}/samples", lambda: {"sort": "-posterior_imbalanced", "limit": 25, "label": label()}
        ),
        "right by audio, wrong by visual": get(f"{path}/samples", narrowed(audio_correct=True, visual_correct=False)),
        "a class": get(f"{path}/samples", lambda: {"label": label(), "split": "validation", "limit": 25}),
        "silent clips": get(f"{path}/samples", narrowed(flag="silent")),
        "two pages": second_page,
        "right or wrong by modality": get(f"{path}/cube", lambda: {"split": "train"}),
        "one sample": sample,
        "subsets": get("/subsets"),
    }
