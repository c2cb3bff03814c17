"""Driving a running stack over its REST API, as a script of a user would."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from frontend.client.transport import KEPT_S

TINY_DATA = {
    "kind": "av-digits",
    "num_train": 120,
    "num_validation": 30,
    "num_test": 40,
    "seed": 7,
}
ENDED = {"finished", "failed", "cancelled"}
VOLATILE = {"seq", "time", "attempt", "seconds", "samples_per_s", "run_id"}
"""What a resumed run may differ in from an undisturbed one (architecture.md, "Repeatable")."""


def tiny_spec(**changes: Any) -> dict[str, Any]:
    """Returns a run of a few seconds."""
    spec: dict[str, Any] = {
        "dataset": TINY_DATA,
        "objective": {"kind": "gmm-adaptive", "warm_up_epochs": 1},
        "epochs": 4,
        "batch_size": 20,
        "optimizer": {"kind": "adamw", "learning_rate": 5e-3},
        "precision": "fp32",
        "device": "cpu",
        "threads": 1,
    }
    return spec | changes


def wait_for(read: Any, what: str, timeout_s: float = 60.0) -> Any:
    """Returns the first true value of `read()`; fails, saying what it waited for, when none comes in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = read()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {timeout_s:.0f} s")


class Api:
    """A thin, untyped REST client: the tests look at the wire itself."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/v1", timeout=30, limits=httpx.Limits(keepalive_expiry=KEPT_S)
        )

    def close(self) -> None:
        self.http.close()

    def get(self, path: str, **params: Any) -> Any:
        response = self.http.get(path, params=params)
        assert response.status_code == 200, f"GET {path}: {response.status_code} {response.text[:500]}"
        return response.json()

    def launch(self, spec: dict[str, Any]) -> str:
        response = self.http.post("/runs", json=spec)
        assert response.status_code == 202, response.text
        assert response.headers["Location"].endswith(response.json()["id"])
        return str(response.json()["id"])

    def events(self, run_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        while True:
            page = self.get(f"/runs/{run_id}/events", after=events[-1]["seq"] if events else 0)["events"]
            if not page:
                return events
            events += page

    def wait_for_state(self, run_id: str, states: set[str], timeout_s: float = 120.0) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def arrived() -> dict[str, Any] | None:
            seen.update(self.get(f"/runs/{run_id}"))
            assert seen["state"] in states or seen["state"] not in ENDED, f"{seen['state']}: {seen['error']}"
            return dict(seen) if seen["state"] in states else None

        return dict(wait_for(arrived, f"run {run_id} becomes one of {sorted(states)}", timeout_s))

    def wait_for_epoch(self, run_id: str, epoch: int, timeout_s: float = 60.0) -> None:
        wait_for(
            lambda: self.get(f"/runs/{run_id}")["progress"]["epoch"] >= epoch, f"epoch {epoch} of {run_id}", timeout_s
        )


def child_of(run_id: str) -> psutil.Process | None:
    """Returns the training child of a run, if one lives on this machine."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "worker.runtime.child" in command and run_id in command:
            return process
    return None


def kill(pid: int) -> None:
    """Kills a process as a power cut would."""
    os.kill(pid, signal.SIGKILL)


def stack_process(home: Path, name: str) -> int:
    """Returns the process id of one process of the stack that serves `home`."""
    processes = json.loads((home / "stack.json").read_text())["processes"]
    return int(processes[name]["pid"])


def comparable(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the epochs of a run without what may differ between two equal runs."""
    return [
        {key: value for key, value in event.items() if key not in VOLATILE}
        for event in events
        if event["type"] == "epoch_finished"
    ]
