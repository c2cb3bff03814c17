"""How soon the stack is up, the first epoch on the screen, an epoch at the endpoint and in the browser."""

from __future__ import annotations

import statistics
import threading
import time
from datetime import datetime
from typing import Any

import httpx
import psutil
from playwright.sync_api import Page, sync_playwright

from tests.bench.figure import Figure
from tests.bench.running import running_stack
from tests.browser.chromium import FLAGS, executable
from tests.stack.driving import stack_process

MIB = 1024 * 1024


def measure() -> list[Figure]:
    """Returns the figures of one demo, followed at the endpoint and in a browser at once."""
    with running_stack() as (stack, api, up_s):
        launched = time.time()
        runs = [api.launch({"preset": preset}) for preset in ("demo-joint", "demo")]
        endpoint = EndpointWatch(stack.api_url, runs[0])
        endpoint.start()
        seen = _watch_page(stack.ui_url, runs[0], 20)
        endpoint.join()
        for run in runs:
            api.wait_for_state(run, {"finished"}, timeout_s=400)
        both_s = time.time() - launched
        backend = psutil.Process(stack_process(stack.home, "backend"))
        resident = backend.memory_info().rss / MIB
    to_endpoint = [endpoint.seen[epoch] - endpoint.written[epoch] for epoch in endpoint.written]
    to_screen = [seen[epoch] - endpoint.written[epoch] for epoch in seen if epoch in endpoint.written]
    first = min(seen.values()) - launched
    return [
        Figure("stack up", f"{up_s:.1f} s", "15 s", up_s <= 15),
        Figure("first epoch of the demo on the screen", f"{first:.1f} s", "30 s", first <= 30),
        Figure("both runs of the demo finished after the stack was up", f"{both_s:.0f} s", "180 s", both_s <= 180),
        _latency("epoch finished, visible at the endpoint", to_endpoint, 0.3),
        _latency("epoch finished, visible in the browser", to_screen, 2.0),
        Figure("backend, resident", f"{resident:.0f} MiB", "250 MiB", resident <= 250),
    ]


def _latency(what: str, seconds: list[float], target: float) -> Figure:
    middle, worst = statistics.median(seconds), max(seconds)
    return Figure(what, f"median {middle * 1e3:.0f} ms, worst {worst * 1e3:.0f} ms", f"{target} s", middle <= target)


class EndpointWatch(threading.Thread):
    """Asks for a run's events every 20 ms and notes when each epoch was written and when it was seen."""

    def __init__(self, url: str, run: str) -> None:
        super().__init__(daemon=True)
        self._address = f"{url}/api/v1/runs/{run}/events"
        self.written: dict[int, float] = {}
        self.seen: dict[int, float] = {}

    def run(self) -> None:
        """Watches until the run has ended."""
        cursor = 0
        with httpx.Client(timeout=10) as client:
            while True:
                events: list[dict[str, Any]] = client.get(self._address, params={"after": cursor}).json()["events"]
                now = time.time()
                for event in events:
                    cursor = event["seq"]
                    if event["type"] == "epoch_finished":
                        self.written[event["epoch"]] = datetime.fromisoformat(event["time"]).timestamp()
                        self.seen[event["epoch"]] = now
                    if event["type"] == "run_finished":
                        return
                time.sleep(0.02)


def _watch_page(ui_url: str, run: str, epochs: int) -> dict[int, float]:
    """Returns when each epoch's number was on the Live page."""
    seen: dict[int, float] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        page = browser.new_page()
        page.goto(f"{ui_url}/run?run={run}")
        deadline = time.time() + 300
        while epochs not in seen and time.time() < deadline:
            epoch = _shown_epoch(page)
            if epoch and epoch not in seen:
                seen[epoch] = time.time()
            time.sleep(0.05)
        browser.close()
    return seen


def _shown_epoch(page: Page) -> int | None:
    """Returns the epoch whose diagnosis and charts the page shows, if it shows one."""
    title = page.get_by_text("What epoch").first
    if not title.count() or not page.locator("svg.marks").count():
        return None
    words = title.text_content(timeout=2_000) or ""
    digits = "".join(letter for letter in words if letter.isdigit())
    return int(digits) if digits else None
