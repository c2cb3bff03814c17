"""The command itself: help at once, every command there, errors without a traceback; and the demo."""

from __future__ import annotations

import importlib
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import psutil
import pytest

from frontend.cli.main import COMMANDS, cli
from tests.backend.stack.running import clean_environment
from tests.stack.driving import Api, wait_for

GAPSCOPE = Path(sys.executable).parent / "gapscope"


def test_help_comes_within_300_ms_of_processor_time() -> None:
    # Processor time, not wall-clock time: the tests share this machine with others.
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True);"
    code += "usage = resource.getrusage(resource.RUSAGE_CHILDREN); print(usage.ru_utime + usage.ru_stime)"
    seconds = [
        float(subprocess.run([sys.executable, "-c", code, GAPSCOPE, "--help"], capture_output=True, check=True).stdout)
        for _ in range(5)
    ]
    assert statistics.median(seconds) < 0.3


@pytest.mark.parametrize("name", COMMANDS)
def test_line_in_the_help_is_that_of_the_command(name: str) -> None:
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert command.name == name
    assert command.help.split("\n")[0].startswith(COMMANDS[name][1].rstrip(".").split(" (")[0])


def test_unknown_command_is_a_wrong_use() -> None:
    result = subprocess.run([GAPSCOPE, "lunch"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "No such command 'lunch'" in result.stderr


@pytest.mark.parametrize("name", ["up", "doctor"])
def test_help_of_the_stacks_commands_shows_their_options(name: str) -> None:
    result = subprocess.run([GAPSCOPE, name, "--help"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert result.stdout.startswith(f"Usage: gapscope {name} ")
    assert "--home" in result.stdout


def test_demo_takes_the_options_of_up_with_the_same_defaults() -> None:
    from backend.stack.__main__ import up
    from frontend.cli.demo import demo

    def options(command: click.Command) -> dict[str, object]:
        return {parameter.name or "": parameter.default for parameter in command.params}

    of_up = options(up)
    del of_up["with_parent"]
    assert {name: value for name, value in options(demo).items() if name in of_up} == of_up


def test_version_is_printed() -> None:
    result = subprocess.run([GAPSCOPE, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("gapscope ")
    assert cli.name


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = tmp_path / "demo.log"
    command = [GAPSCOPE, "demo", "--home", tmp_path / "home", "--api-port", "0", "--ui-port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, env=clean_environment()
        )
    yield process, log
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(20)


@pytest.mark.stack
def test_demo_launches_the_comparison_and_takes_everything_with_it(
    demo: tuple[subprocess.Popen[bytes], Path],
) -> None:
    process, log = demo
    wait_for(lambda: process.poll() is not None or "Both  http" in log.read_text(), "the demo has launched", 60)
    text = log.read_text()
    assert process.poll() is None, text
    api = Api(text.partition("API: ")[2].split("/docs")[0])
    runs = {run["spec"]["objective"]["kind"]: run for run in api.get("/runs", tag="demo")["items"]}
    assert set(runs) == {"joint", "gmm-adaptive"}
    specs = [{k: v for k, v in run["spec"].items() if k not in ("objective", "name")} for run in runs.values()]
    assert specs[0] == specs[1]
    api.http.close()
    everything = psutil.Process(process.pid).children(recursive=True)
    assert len(everything) >= 7
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 0, log.read_text()
    assert time.monotonic() - begin < 11
    assert "Traceback" not in log.read_text()
    assert [child for child in everything if child.is_running()] == []
