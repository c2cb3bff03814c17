"""A file of 200 MB from a real browser to the API: the memory of the UI and of the backend before, at most, and after.

`python -m tests.bench uploads`. The file is a clip that is padded, so that the upload is what costs.
"""

from __future__ import annotations

import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Final

import psutil
from playwright.sync_api import sync_playwright

from tests.backend.stack.running import start_stack, stop_stack, wait_for_stack
from tests.bench.figure import Figure
from tests.bench.scoring import write_clip
from tests.browser.chromium import FLAGS, executable
from tests.stack.driving import Api, stack_process, tiny_spec
from worker.contract.layout import Home

SIZE_BYTES: Final = 200_000_000
MIB: Final = 1024 * 1024
NAMES: Final = ("ui", "backend")


class Watch(threading.Thread):
    """Samples the resident memory of processes until it is stopped."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        super().__init__(daemon=True)
        self._processes, self._stop_asked = processes, threading.Event()
        self.before = self.most = self.now()

    def now(self) -> dict[str, float]:
        """Returns MiB by name."""
        return {name: _mib(process) for name, process in self._processes.items()}

    def run(self) -> None:
        """Samples every 20 ms."""
        while not self._stop_asked.wait(0.02):
            self.most = {name: max(self.most[name], value) for name, value in self.now().items()}

    def stop(self) -> dict[str, float]:
        """Ends the sampling and returns the memory by then."""
        self._stop_asked.set()
        self.join()
        return self.now()


def measure() -> list[Figure]:
    """Returns the memory of both processes and the time of the upload."""
    with tempfile.TemporaryDirectory(prefix="gapscope-bench-") as folder:
        home, clip = Path(folder) / "home", _padded(Path(folder) / "large.mp4")
        process = start_stack(home)
        try:
            stack = wait_for_stack(home, process)
            with closing(Api(stack.api_url)) as api:
                run = api.launch(tiny_spec(epochs=1))
                api.wait_for_state(run, {"finished"}, timeout_s=120)
                return _uploaded(f"{stack.ui_url}/test_clip?run={run}", home, clip)
        finally:
            stop_stack(process)


def _padded(path: Path) -> Path:
    """Writes a clip with a `free` box behind it that makes it SIZE_BYTES long."""
    write_clip(path, seconds=1.0)
    rest = SIZE_BYTES - path.stat().st_size
    with path.open("ab") as file:
        file.write(rest.to_bytes(4, "big") + b"free")
        for start in range(8, rest, MIB):
            file.write(bytes(min(MIB, rest - start)))
    return path


def _uploaded(address: str, home: Path, clip: Path) -> list[Figure]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        page = browser.new_page()
        page.goto(address)
        page.get_by_label("Clip", exact=True).set_input_files(clip)
        time.sleep(2)
        watch = Watch({name: psutil.Process(stack_process(home, name)) for name in NAMES})
        watch.start()
        started = time.perf_counter()
        page.get_by_role("button", name="Upload and score").click()
        page.get_by_text("Uploaded.").wait_for(timeout=120_000)
        seconds = time.perf_counter() - started
        time.sleep(3)
        after = watch.stop()
        browser.close()
    stored = max(path.stat().st_size for path in Home(home).scores.glob("*/file.*"))
    assert stored == SIZE_BYTES, f"{stored:,} bytes arrived"
    figures = [Figure("upload of 200 MB from a browser", f"{seconds:.1f} s")]
    for name in NAMES:
        before, most = watch.before[name], watch.most[name]
        said = f"{before:.0f}, {most:.0f}, {after[name]:.0f} MiB"
        figures.append(Figure(f"{name}: memory before, at most, after", said, "+ 40 MiB", most - before <= 40))
    return figures


def _mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / MIB
