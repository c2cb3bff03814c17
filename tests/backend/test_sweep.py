"""What is kept and what goes: the oldest first, never what something names, and all of it told."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backend.derivatives import Derivatives
from backend.retention import Freed, Item, Retention, surplus
from tests.backend.conftest import Backend, wait_for
from tests.backend.folders import media_bytes, write_dataset, write_run
from worker.contract.record import Claim, ScoreOutcome
from worker.contract.settings import Settings
from worker.contract.subset_files import write_subset
from worker.contract.subsets import Subset, digest_of

DAY_S = 86_400.0
ITEMS = [Item("old", 30, 5), Item("held", 20, 5, in_use=True), Item("young", 10, 5)]


@pytest.mark.parametrize(
    ("retention", "gone"),
    [
        (Retention(), []),
        (Retention(max_age_s=15), ["old"]),
        (Retention(max_number=2), ["old"]),
        (Retention(max_number=1), ["old", "young"]),
        (Retention(max_bytes=15), []),
        (Retention(max_bytes=14), ["old"]),
        (Retention(max_bytes=0), ["old", "young"]),
    ],
)
def test_the_oldest_goes_first_and_what_is_in_use_stays(retention: Retention, gone: list[str]) -> None:
    assert [item.key for item in surplus(reversed(ITEMS), retention)] == gone


@contextmanager
def limited(backend: Backend, **changes: Any) -> Iterator[None]:
    """Other settings while the block lasts."""
    tools = backend.services.tools
    object.__setattr__(tools, "settings", tools.settings.model_copy(update=changes))
    try:
        yield
    finally:
        object.__setattr__(tools, "settings", backend.services.settings)


def made_old(path: Path, days: float) -> None:
    then = time.time() - days * DAY_S
    os.utime(path, (then, then))


@pytest.fixture
def clips(backend: Backend) -> Backend:
    """A home with a prepared dataset that was last used ten days ago."""
    shutil.rmtree(backend.home.trash)
    backend.home.trash.mkdir()
    write_dataset(backend.home)
    made_old(backend.home.dataset("clips").store / "store.json", 10)
    return rebuilt(backend)


def rebuilt(backend: Backend) -> Backend:
    backend.services.redis.flushdb()
    wait_for(lambda: backend.services.live.generation() is not None, "the ledger is rebuilt")
    return backend


def sweep_stores(backend: Backend) -> bool:
    """Returns whether the store of `clips` stays, if what is unused for a week goes."""
    with limited(backend, unused_store_days=7):
        backend.services.sweep.turn()
    return backend.home.dataset("clips").store.exists()


def test_a_store_that_nothing_names_goes_and_its_dataset_can_be_prepared_again(clips: Backend) -> None:
    with limited(clips, unused_store_days=11):
        clips.services.sweep.turn()
    assert clips.get("/datasets/clips")["state"] == "ready"
    assert not sweep_stores(clips)
    shown = clips.get("/datasets/clips")
    assert (shown["state"], shown["error"]["code"]) == ("cancelled", "store-removed")
    assert clips.home.dataset("clips").clips.exists()
    assert rebuilt(clips).get("/datasets/clips")["error"]["code"] == "store-removed"
    run = clips.http.post("/runs", json={"preset": "demo", "dataset": {"id": "clips"}})
    assert run.json()["waiting_for"] == "dataset clips"
    assert clips.get("/datasets/clips")["state"] == "queued"


def test_the_longest_unused_stores_go_first_where_they_take_too_much(clips: Backend) -> None:
    write_dataset(clips.home, dataset_id="younger")
    rebuilt(clips)
    with limited(clips, max_unused_stores_bytes=100_000_000):
        clips.services.sweep.turn()
    assert clips.home.dataset("clips").store.exists()
    size = sum(path.stat().st_blocks * 512 for path in clips.home.dataset("younger").store.iterdir())
    with limited(clips, max_unused_stores_bytes=size):
        clips.services.sweep.turn()
    assert not clips.home.dataset("clips").store.exists()
    assert clips.home.dataset("younger").store.exists()


def test_a_store_that_a_run_names_stays_even_of_one_in_the_trash(clips: Backend) -> None:
    run = write_run(clips.home, dataset={"id": "clips"})
    rebuilt(clips)
    assert sweep_stores(clips)
    used = clips.home.dataset("clips").last_used
    assert time.time() - used.stat().st_mtime < 60
    made_old(used, 10)
    clips.http.delete(f"/runs/{run}")
    assert sweep_stores(clips)
    clips.http.delete(f"/trash/{run}")
    made_old(used, 6)
    assert sweep_stores(clips)
    made_old(used, 8)
    assert not sweep_stores(clips)


def test_a_store_that_a_subset_names_stays(clips: Backend) -> None:
    ids = ["clip-000000"]
    subset = Subset(
        id="subset-1", name="mine", version=1, created_at=datetime.now(UTC), dataset_id="clips", store_digest="0",
        run_id="run-gone", epoch=1, filter=None, num_samples=1, class_counts={"cat": 1}, digest=digest_of(ids),
    )  # fmt: skip
    write_subset(clips.home.subset("subset-1"), subset, ids)
    assert sweep_stores(clips)


def test_a_store_that_could_not_be_made_again_stays(clips: Backend) -> None:
    folder = clips.home.dataset("clips")
    folder.clips.rename(folder.path / "elsewhere")
    assert sweep_stores(clips)


def test_no_store_goes_while_it_is_not_sure_what_names_it(clips: Backend) -> None:
    lost = write_run(clips.home, dataset={"id": "clips"})  # lies there and is not listed
    assert sweep_stores(clips)
    shutil.rmtree(clips.home.run(lost).path)
    live = clips.services.live
    kept = live.generation
    object.__setattr__(live, "generation", lambda: None)  # as in the middle of a rebuild
    try:
        assert sweep_stores(clips)
    finally:
        object.__setattr__(live, "generation", kept)
    assert not sweep_stores(clips)


def uploaded(backend: Backend, run: str, *, ended: bool) -> str:
    files = {"file": ("a.mp4", media_bytes(50_000))}
    score_id = str(backend.http.post("/scores", data={"run_id": run}, files=files).json()["id"])
    if ended:
        claim = backend.ledger.claim("score", score_id, "scorer")
        assert isinstance(claim, Claim)
        outcome = ScoreOutcome(state="cancelled", finished_at=datetime.now(UTC))
        outcome.write(backend.home.score(score_id).result)
        backend.ledger.transition("score", score_id, claim.token, {"running"}, "cancelled")
    return score_id


def test_scores_and_the_trash_are_kept_within_their_bytes_and_it_is_told(clips: Backend) -> None:
    run, other = (write_run(clips.home, minute=minute, dataset={"id": "clips"}) for minute in range(2))
    rebuilt(clips)
    waiting = uploaded(clips, run, ended=False)
    ids = [uploaded(clips, run, ended=True) for _ in range(2)]
    for run_id in (run, other):
        clips.http.delete(f"/runs/{run_id}")
        time.sleep(0.002)
    (size, _) = (entry["num_bytes"] for entry in clips.get("/trash")["items"])
    before = clips.get("/system")["sweep"]
    with limited(clips, max_scores_bytes=120_000, max_trash_bytes=int(1.5 * size)):
        clips.services.sweep.turn()
    assert {item["id"] for item in clips.get("/scores")["items"]} == {waiting, ids[1]}
    assert not clips.home.score(ids[0]).path.exists()
    assert [item["id"] for item in clips.get("/trash")["items"]] == [other]
    sweep = clips.get("/system")["sweep"]
    assert sweep["freed_bytes"] - before["freed_bytes"] > 50_000 + size / 2
    assert {"scores", "trash"} <= {part["name"] for part in sweep["parts"]}
    assert sweep["freed_at"] is not None


def test_system_tells_what_is_used_of_each_limit(clips: Backend) -> None:
    clips.http.post("/runs", json={"preset": "demo", "epochs": 3})
    clips.services.tools.usage.measure()
    limits = {limit["name"]: limit for limit in clips.get("/system")["limits"]}
    assert (limits["queued-run"]["used"], limits["queued-run"]["limit"]) == (1, 100)
    assert (limits["queued-dataset"]["used"], limits["runs"]["used"]) == (1, 1)
    assert limits["home"]["limit"] is None
    assert limits["home"]["used"] > 10_000
    assert all(limit["setting"] in Settings.settings_names() for limit in limits.values())


def test_what_a_crash_left_of_uploads_goes_and_what_comes_in_stays(clips: Backend) -> None:
    old, young = clips.home.scores / ".score-1.partial", clips.home.datasets / ".upload-zip-2"
    for folder in (old, young):
        folder.mkdir()
        (folder / "file").write_bytes(bytes(10_000))
        made_old(folder, 1)
    made_old(old / "file", 1)
    cut_short = [clips.home.runs / ".run-1.partial", clips.home.batches / ".batch-1.purged.1"]
    for folder in cut_short:
        folder.mkdir()
        made_old(folder, 1)
    clips.services.sweep.turn()
    assert not any(folder.exists() for folder in (old, *cut_short))
    assert young.exists()
    shutil.rmtree(young)


def test_clips_for_browsers_go_when_nobody_looks_at_them_or_the_disk_is_short(tmp_path: Path) -> None:
    derivatives = Derivatives(Settings(home=tmp_path, derived_days=2))
    assert derivatives.sweep(is_short=False) == Freed()
    folder = tmp_path / "derived"
    folder.mkdir()
    for name in ("old.i16", "young.mp4", ".b.mp4.1.partial", ".c.mp4.1.partial"):
        (folder / name).write_bytes(bytes(100))
    made_old(folder / "old.i16", 3)
    made_old(folder / ".b.mp4.1.partial", 1)
    assert derivatives.sweep(is_short=False) == Freed(1, 100)
    assert sorted(path.name for path in folder.iterdir()) == [".c.mp4.1.partial", "young.mp4"]
    assert derivatives.sweep(is_short=True) == Freed(1, 100)


def test_what_cannot_be_swept_keeps_nothing_else_from_it(clips: Backend) -> None:
    left = clips.home.scores / ".score-1.partial"
    left.mkdir()
    made_old(left, 1)
    clips.home.trash.rmdir()
    clips.home.trash.write_text("no folder")
    try:
        clips.services.sweep.turn()
    finally:
        clips.home.trash.unlink()
        clips.home.trash.mkdir()
    assert not left.exists()
