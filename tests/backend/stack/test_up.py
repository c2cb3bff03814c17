"""The whole stack as a user starts it: refusals, restarts, the end of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.backend.stack.running import RunningStack, start_stack, stop_stack, wait_for_stack
from tests.stack.driving import kill, stack_process, wait_for

pytestmark = pytest.mark.stack

NAMES = ("server", "backend", "ui", "worker-train", "worker-prepare", "worker-score")


def record_of(home: Path) -> dict[str, Any]:
    return dict(json.loads((home / "stack.json").read_text()))


def refusal(home: Path, *options: str, **environment: str) -> str:
    """Returns what a start that must be refused says."""
    process = start_stack(home, *options, **environment)
    assert process.wait(20) == 1
    output = home.with_name("up.log").read_text()
    assert "Traceback" not in output
    return output.splitlines()[-1]


def family(pid: int) -> list[psutil.Process]:
    """Returns a process and all below it."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def living(processes: list[psutil.Process]) -> list[str]:
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.NoSuchProcess:
            continue
    return found


class TestRefusals:
    def test_taken_port_is_named_with_its_option(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = str(other.getsockname()[1])
            message = refusal(tmp_path / "home", "--ui-port", port)
        assert f"Port {port}" in message
        assert "--ui-port" in message

    def test_address_that_others_reach_is_refused(self, tmp_path: Path) -> None:
        assert "API key, and this home has none" in refusal(tmp_path / "home", "--host", "0.0.0.0")

    @pytest.mark.parametrize("name", ["GAPSCOPE_PUBLIC_URL", "GAPSCOPE_UI_ORIGIN"])
    def test_an_address_of_a_proxy_needs_keys_as_one_that_others_reach(self, tmp_path: Path, name: str) -> None:
        assert "names another host" in refusal(tmp_path / "home", **{name: "https://gapscope.example.org"})

    def test_given_server_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        message = refusal(tmp_path / "home", GAPSCOPE_REDIS_URL="redis://127.0.0.1:1/0")
        assert "127.0.0.1:1/0 does not answer" in message

    def test_damaged_server_files_are_named_with_the_remedy(self, tmp_path: Path) -> None:
        folder = tmp_path / "home" / "redis" / "appendonlydir"
        folder.mkdir(parents=True)
        (folder / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
        (folder / "appendonly.aof.1.incr.aof").write_bytes(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n" + b"?" * 200)
        assert "gapscope doctor --fix --home" in refusal(tmp_path / "home")


def test_everything_answers_and_nothing_listens_off_loopback(stack: RunningStack) -> None:
    assert httpx.get(f"{stack.api_url}/api/v1/health/ready", timeout=10).status_code == 200
    assert httpx.get(f"{stack.ui_url}/_stcore/health", timeout=10).status_code == 200
    connections = [entry for process in family(stack.pid) for entry in process.net_connections("tcp")]
    listening = [entry for entry in connections if entry.status == psutil.CONN_LISTEN]
    assert len(listening) >= 3
    assert {entry.laddr[0] for entry in listening} == {"127.0.0.1"}


def test_record_names_every_process_and_its_log(stack: RunningStack) -> None:
    processes = record_of(stack.home)["processes"]
    assert set(processes) == set(NAMES)
    for name, entry in processes.items():
        assert Path(entry["log"]).exists(), name
        assert os.getsid(entry["pid"]) == entry["pid"], f"{name} has no session of its own"
    assert "redis://" not in json.dumps(record_of(stack.home))


def test_pages_get_no_way_to_redis(stack: RunningStack) -> None:
    environment = psutil.Process(stack_process(stack.home, "ui")).environ()
    assert "GAPSCOPE_REDIS_URL" not in environment
    assert environment["GAPSCOPE_API_URL"] == stack.api_url


@pytest.mark.parametrize("name", NAMES)
def test_killed_process_comes_back_healthy(name: str, stack: RunningStack) -> None:
    before = stack_process(stack.home, name)
    kill(before)

    def is_back() -> bool:
        record = record_of(stack.home)
        return record["state"] == "ready" and record["processes"][name]["pid"] not in (before, None)

    wait_for(is_back, f"{name} is back and all is healthy", 30)
    assert httpx.get(f"{stack.api_url}/api/v1/health/ready", timeout=10).status_code == 200


@pytest.fixture(scope="module")
def other_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("other") / "home"


@pytest.fixture
def other(other_home: Path) -> Iterator[tuple[RunningStack, subprocess.Popen[bytes]]]:
    """A stack of the test's own, on a home that the tests after it use again."""
    process = start_stack(other_home)
    try:
        yield wait_for_stack(other_home, process), process
    finally:
        if process.poll() is None:
            stop_stack(process)


def test_kill_of_all_at_once_leaves_no_orphan(other: tuple[RunningStack, subprocess.Popen[bytes]]) -> None:
    running, process = other
    processes = family(running.pid)
    assert len(processes) > len(NAMES)
    process.kill()
    process.wait()
    wait_for(lambda: not living(processes), "no process is left", 5)


def test_next_start_works_and_a_stop_leaves_nothing_within_ten_seconds(
    other: tuple[RunningStack, subprocess.Popen[bytes]],
) -> None:
    running, process = other
    processes = family(running.pid)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    assert time.monotonic() - begin < 10.0
    assert living(processes) == []
    assert not (running.home / "stack.json").exists()


ON_A_FULL_DISK = """
import errno, os, sys
from pathlib import Path
from backend.stack import display, record, table, up
from backend.stack.processes import Supervised

def write(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

home = Path(sys.argv[1])
program = "import os, time; os.path.exists('full') and os._exit(1); time.sleep(60)"
child = Supervised("server", ["python", "-c", program], dict(os.environ), home, home / "log", lambda _: None)
record.write, table.build = write, lambda plan: [child]
up.Stack(table.Plan(home, "127.0.0.1", 1, 2, None, ""), display.PlainDisplay()).run()
"""


@pytest.fixture
def on_a_full_disk(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A stack of one process that can write no record; its one child ends by itself while there is a file `full`."""
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield process
        process.kill()


def told(process: subprocess.Popen[str], text: str) -> str:
    """Reads on to the line that has the text; returns all that was read."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"{text!r} was never said: {''.join(lines)}")


def test_a_full_disk_is_said_once_and_the_stack_goes_on_and_stops_in_order(
    on_a_full_disk: subprocess.Popen[str],
) -> None:
    said = told(on_a_full_disk, "Ready after")
    time.sleep(1.0)  # some more turns
    processes = family(on_a_full_disk.pid)
    assert len(processes) == 2
    on_a_full_disk.send_signal(signal.SIGTERM)
    output, _ = on_a_full_disk.communicate(timeout=10)
    assert on_a_full_disk.returncode == 0, output
    assert living(processes) == []
    assert (said + output).count("No space left on device") == 1
    assert "server: stopped" in output


def test_a_server_that_was_ready_once_is_started_again_for_as_long_as_its_disk_is_full(
    on_a_full_disk: subprocess.Popen[str], tmp_path: Path
) -> None:
    told(on_a_full_disk, "Ready after")
    (tmp_path / "full").touch()
    (child,) = psutil.Process(on_a_full_disk.pid).children()
    child.kill()
    for pause in ("0.5", "1.0", "2.0"):
        told(on_a_full_disk, f"starting again in {pause} s")
    (tmp_path / "full").unlink()
    told(on_a_full_disk, "server: healthy")
    on_a_full_disk.send_signal(signal.SIGTERM)
    output, _ = on_a_full_disk.communicate(timeout=10)
    assert on_a_full_disk.returncode == 0, output


def test_a_stack_whose_output_goes_to_a_full_disk_stops_in_order(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen([sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path)], stdout=full, stderr=full)
    wait_for(lambda: len(family(process.pid)) == 2, "its child runs", 10)
    time.sleep(1.0)  # some turns
    processes = family(process.pid)
    assert len(processes) == 2
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    assert living(processes) == []
