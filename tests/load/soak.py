"""`make soak`: half an hour of runs, browsers, followers and uploads on a real stack: nothing may grow without bound.

`python -m tests.load.soak --minutes 30`. Runs are trained one after another; browsers stay on live pages; a few clients
list, page, open samples, follow and upload. Every 10 s memory, file descriptors and threads of each process and the
memory of Redis are sampled. Writes artifacts/soak.md, soak.svg and soak.json; exit status 1 when something grew by more
than 5 % after the first five minutes, or a call failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import psutil
from playwright.async_api import Error as BrowserError
from playwright.async_api import Page, async_playwright

from tests.bench.figure import Figure, table
from tests.browser.chromium import FLAGS, executable
from tests.load.chart import draw
from tests.load.client import Client
from tests.load.growth import growth
from tests.load.scene import Scene, open_scene
from tests.load.timing import Timings
from tests.load.watching import Look, Watch
from tests.stack.driving import ENDED, tiny_spec

EPOCHS: Final = 30
CLIENTS: Final = 5
PAUSE_S: Final = 1.5
NUM_RUNS: Final = 20
EVERY_S: Final = 10.0
TURN_S: Final = 45.0
"""A browser goes to its next page after so long."""
PAGES: Final = ("/run?run={run}", "/run?run={run}&tab=Samples", "/")
MAX_GROWTH: Final = 0.05
LEAST_MIB, LEAST_HANDLES = 2.0, 3
"""Growth below this is noise, whatever its share."""
NICEST: Final = 19


async def soak(scene: Scene, seconds: float, num_browsers: int, timings: Timings) -> int:
    """Keeps a stack busy for so long; returns how many runs ended.

    Args:
        scene: a stack on which a run trains.
        seconds: for how long.
        num_browsers: pages of a browser that stay open.
        timings: where the clients write what they met.
    """
    until = asyncio.get_running_loop().time() + seconds
    current = Current(scene)
    clients = [Client(scene, timings, number, PAUSE_S) for number in range(CLIENTS)]
    async with _browser(num_browsers) as pages:
        beside = [asyncio.create_task(client.follow()) for client in clients]
        beside += [asyncio.create_task(_look_around(page, current, at)) for at, page in enumerate(pages)]
        await asyncio.gather(current.train(clients, until), *(client.work(until) for client in clients))
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    await asyncio.gather(*(client.close() for client in clients))
    return current.ended


class Current:
    """The run that trains at this moment."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.run = scene.training
        self.ended = 0

    async def train(self, clients: list[Client], until: float) -> None:
        """Launches a run when the one before has ended, and tells the clients."""
        http = clients[0].http
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(1)
            state = (await http.get(f"/runs/{self.run}")).raise_for_status().json()["state"]
            if state not in ENDED:
                continue
            self.ended += 1
            spec = tiny_spec(epochs=EPOCHS, name=f"soak {self.ended}", seed=self.ended)
            self.run = (await http.post("/runs", json=spec)).raise_for_status().json()["id"]
            for client in clients:
                client.scene = replace(self.scene, follows=self.run)


@asynccontextmanager
async def _browser(num_pages: int) -> AsyncIterator[list[Page]]:
    """Yields pages of a browser, each with a session of its own, that leaves the processor to others."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        for process in psutil.Process().children(recursive=True):
            if "chrom" in process.name():
                process.nice(NICEST)
        yield [await (await browser.new_context()).new_page() for _ in range(num_pages)]
        await browser.close()


async def _look_around(page: Page, current: Current, turn: int) -> None:
    while True:
        address = PAGES[turn % len(PAGES)].format(run=current.run)
        try:
            await page.goto(current.scene.stack.ui_url + address, timeout=60_000)
        except BrowserError as error:
            print(f"browser: {str(error).splitlines()[0]}", flush=True)  # noqa: T201
        await asyncio.sleep(TURN_S)
        turn += 1


def growth_figures(looks: list[Look], settle_s: float) -> list[Figure]:
    """Returns how memory, descriptors and threads of each process, and the memory of Redis, grew after settling."""
    rows = []
    for name in looks[-1].usages:
        found = [(look.at_s, look.usages[name]) for look in looks if name in look.usages]
        times = [at for at, _ in found]
        memory = growth(times, [usage.resident_mib for _, usage in found], settle_s)
        counts = {
            what: growth(times, [getattr(usage, what) for _, usage in found], settle_s)
            for what in ("descriptors", "threads")
        }
        is_bound = memory.ratio < MAX_GROWTH or memory.last - memory.first < LEAST_MIB
        is_bound &= all(count.last - count.first < LEAST_HANDLES for count in counts.values())
        said = f"{memory.first:.0f} to {memory.last:.0f} MiB ({memory.ratio:+.1%}), {memory.per_hour:+.1f} MiB an hour"
        said += "".join(f"; {what} {count.first:.0f} to {count.last:.0f}" for what, count in counts.items())
        rows.append(Figure(name, said, f"+{MAX_GROWTH:.0%}, no more handles", is_bound))
    redis = [(look.at_s, look.redis_mib) for look in looks if look.redis_mib is not None]
    memory = growth([at for at, _ in redis], [mib for _, mib in redis], settle_s)
    said = f"{memory.first:.1f} to {memory.last:.1f} MiB, {memory.per_hour:+.1f} MiB an hour"
    return [*rows, Figure("Redis, used memory", said)]


def main() -> None:
    """Prints the figures, and writes them, the samples and the chart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--settle-minutes", type=float, default=5.0, help="growth counts after these")
    parser.add_argument("--browsers", type=int, default=3)
    asked = parser.parse_args()
    timings, settle_s, folder = Timings(), asked.settle_minutes * 60, Path("artifacts")
    spec: dict[str, Any] = tiny_spec(epochs=EPOCHS, name="soak 0")
    with open_scene(spec, NUM_RUNS) as scene:
        watch, began, before = Watch(scene.stack.home, EVERY_S), time.monotonic(), os.getloadavg()[0]
        watch.start()
        ended = asyncio.run(soak(scene, asked.minutes * 60, asked.browsers, timings))
        looks, seconds = watch.stop(), time.monotonic() - began
    rows = growth_figures(looks, settle_s)
    done = f"{ended} runs of {EPOCHS} epochs, {len(timings.scored_s)} uploads, {len(timings.all_ms):,} calls"
    rows.append(Figure(f"{done}; errors", str(len(timings.errors)), "0", not timings.errors))
    load = f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} after"
    report = table(f"{seconds / 60:.0f} minutes, {asked.browsers} browsers, {CLIENTS} clients; {load}", rows)
    print(report, *timings.errors[:20], sep="\n")  # noqa: T201
    folder.mkdir(exist_ok=True)
    (folder / "soak.md").write_text(report)
    (folder / "soak.json").write_text(json.dumps([asdict(look) for look in looks]))
    draw(looks, settle_s, folder / "soak.svg")
    sys.exit(0 if all(row.reached is not False for row in rows) else 1)


if __name__ == "__main__":
    main()
