"""Whatever the OpenAPI document allows, and much that it does not, is answered as it says and harms nothing."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from tests.faults.api_target import api_target
from tests.faults.fuzz_api import run_round
from tests.faults.wire import MAKERS, wire_faults

WRITER = """
import os, pathlib, shutil
pathlib.Path("home/a/b").mkdir(parents=True)
pathlib.Path("home/a/kept").write_text("x")
shutil.rmtree("home/a")
open("home/../outside", "w").close()
os.rename("outside", "moved")
os.symlink("/etc", "link")
open("moved").close()
"""


def test_requests_are_answered_as_the_document_says_and_harm_nothing(tmp_path: Path) -> None:
    told = run_round(tmp_path, seed=1, phases=("fuzzing", "stateful"), drawn=4, num_wire=300)
    assert told.faults == {}
    assert told.harm == []
    assert told.num_requests > 600
    assert told.statuses[200] > 50  # many requests are valid, and name what exists
    assert told.statuses[422] > 50


def test_the_same_seed_sends_the_same_and_what_is_harmed_is_seen(tmp_path: Path) -> None:
    with api_target(tmp_path) as target:
        draws = (random.Random(3), random.Random(3))
        first, second = ([draw.choice(MAKERS)(draw, target, "h") for _ in range(50)] for draw in draws)
        assert first == second
        assert wire_faults(target, 0, 20)[1] == {}
        assert target.harm() == []
        (tmp_path / "tmp" / "left").touch()
        target.process.kill()
        target.process.wait()
        assert target.harm() == ["the API's process ended with -9", "left beside the home: left"]


def test_every_write_outside_the_home_is_seen(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "writer.py").write_text(WRITER)
    report = tmp_path / "report"
    command = [sys.executable, "-m", "tests.faults.watched", tmp_path / "home", report, "writer"]
    root = str(Path(__file__).parents[2])
    environment = {"PYTHONPATH": f"{root}:{tmp_path}", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    seen = [Path(line).name for line in report.read_text().splitlines()]
    assert seen == ["outside", "outside", "moved", "link"]
