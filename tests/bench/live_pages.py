"""Ten browsers on one live run: how far each is behind, what that costs; and the first chart of a long run.

`python -m tests.bench live_pages`. Browsers, servers and training share the machine, so these are upper bounds.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from tests.backend.stack.running import start_stack, stop_stack, wait_for_stack
from tests.bench.big_run import write_big_run
from tests.bench.figure import Figure
from tests.browser.chromium import FLAGS, executable
from tests.stack.driving import Api, stack_process
from worker.contract.layout import Home

PAGES: Final = 10
VISITS: Final = 5
EPOCHS: Final = 40
SPEC: Final[dict[str, Any]] = {"preset": "demo", "epochs": EPOCHS, "name": "ten browsers"}
LONG: Final = (10_000, 200)
MIB: Final = 1024 * 1024
WATCH: Final = """() => {
  window.seen = {};
  setInterval(() => {
    const title = document.querySelector('.st-key-panel_diagnosis h5');
    const epoch = title && parseInt((title.textContent.match(/\\d+/) || [])[0]);
    if (epoch && document.querySelector('svg.marks') && !(epoch in window.seen)) window.seen[epoch] = Date.now() / 1000;
  }, 50);
}"""


def measure() -> list[Figure]:
    """Returns the figures of the Live page."""
    with tempfile.TemporaryDirectory(prefix="gapscope-bench-") as folder:
        home = Home(Path(folder) / "home")
        long_run = write_big_run(home, *LONG)
        process = start_stack(home.path)
        try:
            stack = wait_for_stack(home.path, process)
            with closing(Api(stack.api_url)) as api, sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
                first = _first_charts(browser, f"{stack.ui_url}/run?run={long_run}")
                figures = _first_figures(first)
                figures.append(_brush(browser, f"{stack.ui_url}/run?run={long_run}&tab=Samples&split=train"))
                figures += _ten_pages(browser, stack.ui_url, api, home.path)
                browser.close()
        finally:
            stop_stack(process)
    return figures


def _first_charts(browser: Browser, address: str) -> list[float]:
    """Returns seconds from asking for the page to its first chart: a new browser's, then those of its next visits."""
    context, seconds = browser.new_context(), []
    for _ in range(VISITS):
        page = context.new_page()
        started = time.perf_counter()
        page.goto(address)
        page.wait_for_selector("svg.marks", timeout=60_000)
        seconds.append(time.perf_counter() - started)
        page.wait_for_timeout(1_000)  # it draws what is below
        page.close()
    context.close()
    return seconds


def _first_figures(seconds: list[float]) -> list[Figure]:
    warm = statistics.median(seconds[1:])
    what = f"first chart of {LONG[1]} epochs x {LONG[0]:,} samples"
    return [
        Figure(f"{what}, new server and browser", f"{seconds[0]:.1f} s"),
        Figure(f"{what}, warm", f"{warm:.1f} s", "2 s", warm <= 2),
    ]


def _brush(browser: Browser, address: str) -> Figure:
    """Drags ranges over the histogram of the Samples tab: seconds from letting go to the clips of that range."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(address)
    said = page.get_by_text("with these filters")
    said.wait_for()
    box = page.locator("[class*=st-key-panel_brush] svg.marks").bounding_box()
    assert box is not None
    middle, seconds = box["y"] + box["height"] / 2, []
    for start in (0.2, 0.3, 0.4, 0.5, 0.6):
        before = said.inner_text()
        page.mouse.move(box["x"] + start * box["width"], middle)
        page.mouse.down()
        page.mouse.move(box["x"] + (start + 0.1) * box["width"], middle, steps=4)
        page.mouse.up()
        began = time.perf_counter()
        page.wait_for_function("before => !document.body.innerText.includes(before)", arg=before, polling=10)
        said.wait_for()
        seconds.append(time.perf_counter() - began)
        page.wait_for_timeout(500)
    page.close()
    middle_s = statistics.median(seconds)
    return Figure("a brush shows its clips, 10,000 samples", f"{middle_s * 1e3:.0f} ms", "500 ms", middle_s <= 0.5)


def _ten_pages(browser: Browser, ui_url: str, api: Api, home: Path) -> list[Figure]:
    run = api.launch(SPEC)
    api.wait_for_epoch(run, 1, timeout_s=180)
    ui = psutil.Process(stack_process(home, "ui"))
    backend = psutil.Process(stack_process(home, "backend"))
    pages = [_open(browser, f"{ui_url}/run?run={run}") for _ in range(PAGES)]
    opened, busy, began = time.time(), sum(ui.cpu_times()[:2]), time.perf_counter()
    resident = 0
    while api.get(f"/runs/{run}")["state"] != "finished":
        resident = max(resident, ui.memory_info().rss)
        pages[0].wait_for_timeout(500)
    share = (sum(ui.cpu_times()[:2]) - busy) / (time.perf_counter() - began)
    pages[0].wait_for_timeout(6_000)
    lags = _lags(api, run, opened, [page.evaluate("() => window.seen") for page in pages])
    return [
        Figure(
            f"{PAGES} browsers on a live run: an epoch on every page after",
            f"median {statistics.median(lags):.1f} s, worst {max(lags):.1f} s of {len(lags)}",
            "5 s",
            max(lags) <= 5,
        ),
        Figure("UI process, resident at most", f"{resident / MIB:.0f} MiB", "400 MB", resident <= 400e6),
        Figure("UI process, share of a core", f"{share:.2f}"),
        Figure("backend, resident", f"{backend.memory_info().rss / MIB:.0f} MiB", "300 MB"),
    ]


def _open(browser: Browser, address: str) -> Page:
    page = browser.new_context().new_page()
    page.goto(address)
    page.wait_for_selector("svg.marks", timeout=60_000)
    page.evaluate(WATCH)
    return page


def _lags(api: Api, run: str, opened: float, seen: list[dict[str, float]]) -> list[float]:
    """Returns, for each page and each epoch written after all pages were open, the seconds until it showed it.

    A page that asks less often than epochs come passes some over: then what counts is when it showed a later one.
    """
    written = {
        event["epoch"]: datetime.fromisoformat(event["time"]).timestamp()
        for event in api.events(run)
        if event["type"] == "epoch_finished"
    }
    lags = []
    for page in seen:
        shown = {int(epoch): at for epoch, at in page.items()}
        for epoch, at in written.items():
            if at > opened:
                lags.append(min((when for later, when in shown.items() if later >= epoch), default=float("inf")) - at)
    return lags
