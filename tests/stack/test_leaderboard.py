"""`gapscope bench methods` on the real stack: two methods, two seeds, then all of it again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.backend.stack.running import RunningStack, clean_environment
from tests.stack.driving import TINY_DATA, Api

pytestmark = pytest.mark.stack

GAPSCOPE = Path(sys.executable).parent / "gapscope"


def bench(stack: RunningStack, folder: Path) -> tuple[dict[str, Any], str, str]:
    """Returns the board as JSON, the file, and what was told."""
    overrides = [f"dataset.{name}={value}" for name, value in TINY_DATA.items() if name != "kind"]
    result = subprocess.run(
        [
            *(GAPSCOPE, "bench", "methods", "--dataset", "av-digits", "--methods", "joint,multi-head"),
            *("--seeds", "2", "--epochs", "1", "-o", "threads=1", "-o", "device=cpu", "-o", "precision=fp32"),
            *(word for text in overrides for word in ("-o", text)),
            *("--output", folder / "board.md", "--json", folder / "board.json"),
        ],
        env=clean_environment() | {"GAPSCOPE_API_URL": stack.api_url},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr
    return json.loads((folder / "board.json").read_text()), (folder / "board.md").read_text(), result.stderr


@pytest.mark.timeout(600)  # four children load torch, on a machine that others keep busy
def test_board_is_made_of_ordinary_runs_and_a_second_call_reuses_all(
    stack: RunningStack, api: Api, tmp_path: Path
) -> None:
    first, text, told = bench(stack, tmp_path)
    assert told.count("launched") == 4
    runs = {entry["run_id"]: api.get(f"/runs/{entry['run_id']}") for entry in first["entries"]}
    assert {(run["spec"]["objective"]["kind"], run["spec"]["seed"]) for run in runs.values()} == {
        (method, seed) for method in ("joint", "multi-head") for seed in (0, 1)
    }
    for entry in first["entries"]:
        report = runs[entry["run_id"]]["result"]["last"]["test"]
        assert entry["metrics"]["fused"] == report["accuracy"]["fused"]
        assert entry["num_samples"] == 40
        planted = entry["planted"]
        assert (planted["num_audio"], planted["num_visual"], planted["num_clean"]) == (2, 3, 35)
        assert 0 <= planted["auc_audio"] <= 1
        assert sum(one["num_samples"] for one in planted["bins"]) == 40
    assert "Exploratory" in text
    assert all(run_id in text for run_id in runs)

    second, _, told = bench(stack, tmp_path)
    assert told.count("reused") == 4
    assert [entry["run_id"] for entry in second["entries"]] == [entry["run_id"] for entry in first["entries"]]
    assert second["rows"] == first["rows"]
