"""Killing what runs changes when a run ends, not whether, and not its numbers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stack.driving import Api, child_of, comparable, kill, stack_process, tiny_spec, wait_for

pytestmark = pytest.mark.stack

SPEC = tiny_spec(epochs=12)


@pytest.fixture(scope="module")
def undisturbed(api: Api) -> list[dict[str, Any]]:
    run = api.launch(SPEC)
    api.wait_for_state(run, {"finished"})
    return comparable(api.events(run))


@pytest.mark.parametrize("victim", ["child", "worker-train", "server", "backend"])
def test_killed_run_ends_equal_to_an_undisturbed_one(
    victim: str, api: Api, stack: Any, undisturbed: list[dict[str, Any]]
) -> None:
    run = api.launch(SPEC)
    api.wait_for_epoch(run, 2)
    if victim == "child":
        child = child_of(run)
        assert child is not None
        kill(child.pid)
    else:
        kill(stack_process(stack.home, victim))
        wait_for(lambda: _answers(api), "the stack answers again", 30)
    finished = api.wait_for_state(run, {"finished"}, timeout_s=90)
    events = api.events(run)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert comparable(events) == undisturbed
    if victim in ("child", "worker-train"):
        assert finished["attempt"] == 2
        assert "run_resumed" in [event["type"] for event in events]
    assert child_of(run) is None


def _answers(api: Api) -> bool:
    try:
        return bool(api.http.get("/health/ready").status_code == 200)
    except Exception:  # any failure to answer means: not yet
        return False
