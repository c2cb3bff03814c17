"""`make screenshots`: every page of a running Gapscope, in both themes and at two widths, as PNG files to look at.

`python -m tests.bench.screenshots --ui http://127.0.0.1:8501 runs system` takes only those pages. They go to
artifacts/pages.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, sync_playwright

from frontend.client import GapscopeClient
from tests.browser.chromium import FLAGS, executable

PAGES: Final = {
    "runs": "runs",
    "new_run": "new_run",
    "live": "run?run={run}",
    "samples": "run?run={run}&tab=Samples",
    "sample": "run?run={run}&tab=Samples&sample={sample}",
    "confusion": "run?run={run}&tab=Confusion",
    "log": "run?run={run}&tab=Log",
    "configuration": "run?run={run}&tab=Configuration",
    "compare": "compare?runs={runs}",
    "test_clip": "test_clip?run={run}",
    "datasets": "datasets?dataset={dataset}",
    "trash": "runs?view=trash",
    "system": "system",
}
WIDTHS: Final = (1280, 1920)
HEIGHT: Final = 1000
THEMES: Final = ("light", "dark")
DRAWN: Final = """() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
    && document.querySelector('[data-testid=stMainBlockContainer] h1, [data-testid=stMainBlockContainer] h3')
    && !document.querySelector('[data-testid=stSkeleton]')"""
QUIET_MS: Final = 1_500
"""How long after the last skeleton charts still move."""


def places(client: GapscopeClient) -> dict[str, str]:
    """Returns what the addresses name: the newest finished run, its widest sample, two runs, a dataset."""
    runs = client.runs(state="finished", limit=5).items
    if not runs:
        return dict.fromkeys(("run", "sample", "runs", "dataset"), "")
    run = next((run for run in runs if run.spec.objective.kind == "gmm-adaptive"), runs[0])
    rows = client.sample_rows(run.id, sort="gap", limit=1).items
    return {
        "run": run.id,
        "sample": rows[0].sample_id if rows else "",
        "runs": ",".join(run.id for run in runs[:3]),
        "dataset": client.datasets(limit=1).items[0].id,
    }


def settle(page: Page) -> None:
    """Waits until a page has drawn what it has to draw."""
    page.wait_for_function(DRAWN)
    page.wait_for_timeout(QUIET_MS)


def take(browser: Browser, addresses: dict[str, str], folder: Path, scheme: str, width: int, full: bool) -> None:
    """Takes one picture of each page in a theme at a width.

    Args:
        browser: a browser.
        addresses: name -> address.
        folder: where `<name>-<scheme>-<width>.png` goes.
        scheme: light or dark.
        width: of the window, pixels.
        full: the whole page, and not only what a window of that width shows.
    """
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": HEIGHT})  # type: ignore[arg-type]
    try:
        page = context.new_page()
        for name, address in addresses.items():
            page.goto(address)
            settle(page)
            if full:
                main = page.get_by_test_id("stMainBlockContainer").bounding_box()
                page.set_viewport_size({"width": width, "height": max(HEIGHT, int(main["height"]) if main else 0)})
                page.wait_for_timeout(QUIET_MS)
            page.screenshot(path=folder / f"{name}-{scheme}-{width}.png")
            page.set_viewport_size({"width": width, "height": HEIGHT})
    finally:
        context.close()


def main(arguments: list[str]) -> int:
    """Takes the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.screenshots", description=__doc__)
    parser.add_argument("pages", nargs="*", help=f"of {', '.join(PAGES)}; all by default")
    parser.add_argument("--ui", default="http://127.0.0.1:8501", help="address of the pages")
    parser.add_argument("--api", default=None, help="address of the API; by default as the command line finds it")
    parser.add_argument("--to", type=Path, default=Path("artifacts/pages"), help="folder for the pictures")
    parser.add_argument("--width", type=int, action="append", help="of the window; 1280 and 1920 by default")
    parser.add_argument("--theme", choices=THEMES, action="append", help="both by default")
    parser.add_argument("--full", action="store_true", help="the whole page, not only the window")
    options = parser.parse_args(arguments)
    unknown = set(options.pages) - set(PAGES)
    if unknown:
        parser.error(f"no such page: {', '.join(sorted(unknown))}")
    with GapscopeClient(options.api) as client:
        named = places(client)
    wanted = {
        name: f"{options.ui}/{path.format(**named)}"
        for name, path in PAGES.items()
        if not options.pages or name in options.pages
    }
    options.to.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        for scheme in options.theme or THEMES:
            for width in options.width or WIDTHS:
                take(browser, wanted, options.to, scheme, width, options.full)
        browser.close()
    sys.stdout.write(f"{len(list(options.to.glob('*.png')))} pictures in {options.to}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
