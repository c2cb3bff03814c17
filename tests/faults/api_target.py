"""A real API process on a filled home, to be sent anything: nothing works on its queues, its writes are watched."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.stack import commands
from tests.backend.folders import media_bytes, sample_ids, write_arrays, write_dataset, write_run
from tests.backend.stack.running import clean_environment
from tests.conftest import ValkeyServer, free_port
from worker.contract.layout import Home
from worker.contract.spec.preprocess import PreprocessSpec

START_S = 30.0
SMALL = PreprocessSpec(duration_s=0.5, sample_rate_hz=8_000, num_frames=2, frame_size=32, crop_size=32)


@dataclass(frozen=True)
class ApiTarget:
    """What is fuzzed."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path
    """Holds the home, and beside it what the process must leave alone."""
    run_id: str
    dataset_id: str
    sample_id: str

    @property
    def log(self) -> Path:
        return self.folder / "api.log"

    def harm(self) -> list[str]:
        """Returns what is not as it must be after any request: the process, and all that lies outside the home."""
        found = []
        if self.process.poll() is not None:
            found.append(f"the API's process ended with {self.process.returncode}")
        report = self.folder / "written-outside"
        found += [f"written outside the home: {path}" for path in sorted(set(report.read_text().splitlines()))]
        left = [path.name for name in ("cwd", "tmp") for path in (self.folder / name).iterdir()]
        return [*found, *(f"left beside the home: {name}" for name in left)]


@contextmanager
def api_target(folder: Path) -> Iterator[ApiTarget]:
    """Serves a home with a dataset and a finished run by the API's own command line, until the block ends.

    Args:
        folder: an empty folder.
    """
    for name in ("redis", "cwd", "tmp", "clips"):
        (folder / name).mkdir(parents=True)
    server = ValkeyServer(folder / "redis")
    server.start()
    home = Home(folder / "home")
    home.create()
    dataset_id = write_dataset(home, count=40)
    write_arrays(home, dataset_id, SMALL)
    run_id = write_run(home, count=40, dataset={"id": dataset_id})
    (folder / "clips" / "a.mp4").write_bytes(media_bytes())
    port = free_port()
    process = _start(folder, port, server.url)
    try:
        target = ApiTarget(f"http://127.0.0.1:{port}", process, folder, run_id, dataset_id, sample_ids(1)[0])
        _wait(target)
        yield target
    finally:
        process.terminate()
        process.wait(15)
        server.kill()


def _start(folder: Path, port: int, redis_url: str) -> subprocess.Popen[bytes]:
    _, _, module, *arguments = commands.backend("127.0.0.1", port)
    command = [sys.executable, "-m", "tests.faults.watched", folder / "home", folder / "written-outside"]
    environment = {
        "GAPSCOPE_HOME": str(folder / "home"),
        "GAPSCOPE_REDIS_URL": redis_url,
        "GAPSCOPE_MIN_FREE_BYTES": "0",
        "GAPSCOPE_MIN_FREE_SHARE": "0",
        "GAPSCOPE_MAX_QUEUED_RUNS": "10000",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(folder / "tmp"),
    }
    with (folder / "api.log").open("wb") as log:
        return subprocess.Popen(
            [*command, module, *arguments],
            cwd=folder / "cwd",
            env=clean_environment() | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _wait(target: ApiTarget) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and target.process.poll() is None:
        try:
            if httpx.get(f"{target.url}/api/v1/runs/{target.run_id}").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"the API did not start:\n{target.log.read_text()[-3_000:]}")
