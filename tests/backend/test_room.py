"""Room in the home and places for uploads: measured, promised once, refused with a remedy, and nothing left behind."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from backend.home_usage import HomeUsage, disk_bytes
from backend.upload_slots import UploadSlots, UploadStalledError, steady
from tests.backend.conftest import Backend, run_apart, serving, settings_for, wait_for
from tests.backend.folders import media_bytes, write_dataset, write_run
from tests.conftest import ValkeyServer
from worker.contract.errors import HomeFullError, TooManyError
from worker.contract.layout import Home
from worker.contract.record import JobFacts
from worker.contract.settings import Settings

DEMO = {"preset": "demo", "epochs": 3}
MIB = 1024 * 1024


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def usage_of(home: Home, limit: int | None) -> HomeUsage:
    return HomeUsage(home, Settings(home=home.path, max_home_bytes=limit))


def test_a_home_is_measured_by_part_and_a_file_of_two_names_once(home: Home) -> None:
    (home.runs / "a").mkdir()
    (home.runs / "a" / "one").write_bytes(bytes(MIB))
    os.link(home.runs / "a" / "one", home.datasets / "one")
    (home.scores / "out").symlink_to("/usr")
    usage = usage_of(home, None).usage()
    assert usage.parts["runs"] == usage.parts["datasets"] == MIB // 2
    assert usage.parts["scores"] < 10_000
    assert usage.total < 1.1 * MIB
    assert disk_bytes(home.path / "none") == 0


def test_of_two_that_fit_one_by_one_only_one_is_promised_room(home: Home) -> None:
    usage = usage_of(home, 10 * MIB)
    assert not usage.is_short()
    with usage.promised(6 * MIB):
        with pytest.raises(HomeFullError, match="GAPSCOPE_MAX_HOME_BYTES"), usage.promised(6 * MIB):
            raise AssertionError("the room was promised twice")
        usage.measure()  # what is being written is not all there yet: it stays promised
        with pytest.raises(HomeFullError):
            usage.require(6 * MIB)
    with pytest.raises(HomeFullError):
        usage.require(6 * MIB)  # written, and not measured yet
    usage.measure()
    usage.require(6 * MIB)
    with pytest.raises(KeyError), usage.promised(6 * MIB):
        raise KeyError
    usage.require(6 * MIB)  # what failed wrote nothing


def test_what_can_be_spared_goes_early_once_little_of_the_home_is_left(home: Home) -> None:
    usage = usage_of(home, 10 * MIB)
    (home.runs / "large").write_bytes(bytes(9_500_000))
    usage.measure()
    assert not usage.is_short()
    (home.runs / "larger").write_bytes(bytes(600_000))
    usage.measure()
    assert usage.is_short()
    assert not usage_of(home, None).is_short()


def test_what_was_deleted_makes_room_without_waiting_for_the_next_measurement(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.runs / "large").write_bytes(bytes(2 * MIB))
    usage = usage_of(home, 2 * MIB)
    with pytest.raises(HomeFullError):
        usage.require()
    (home.runs / "large").unlink()
    monkeypatch.setattr("backend.home_usage.LOOK_AGAIN_S", 0.0)
    wait_for(lambda: _has_room(usage), "room")


def _has_room(usage: HomeUsage) -> bool:
    try:
        usage.require()
    except HomeFullError:
        return False
    return True


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, valkey_server: ValkeyServer) -> Iterator[Backend]:
    """A server whose home may hold 4 MiB, with one upload at once, and a run that scores."""
    home = Home(tmp_path_factory.mktemp("small") / "home")
    home.create()
    write_dataset(home)
    write_run(home, dataset={"id": "clips"})
    url = valkey_server.url.replace("/0", "/3")
    with serving(settings_for(home.path, url, max_home_bytes=4 * MIB, max_uploads=1)) as backend:
        yield backend


def scoring_run(backend: Backend) -> str:
    """Returns the run that scores; a test before may have emptied Redis, and the rebuild takes a moment."""
    run = next(backend.home.runs.iterdir()).name
    wait_for(lambda: backend.http.get(f"/runs/{run}").status_code == 200, "the run is known")
    return run


def upload(backend: Backend, size: int) -> Any:
    run = scoring_run(backend)
    return backend.http.post("/scores", data={"run_id": run}, files={"file": ("a.mp4", media_bytes(size))})


def slow_upload(backend: Backend, go_on: threading.Event) -> Any:
    run = scoring_run(backend).encode()
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="run_id"\r\n\r\n' + run + b"\r\n",
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n' + media_bytes(1_000),
        b"\r\n--x--\r\n",
    ]

    def content() -> Iterator[bytes]:
        yield from parts[:-1]
        go_on.wait(10)
        yield parts[-1]

    length = str(sum(map(len, parts)))
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": length}
    return backend.http.post("/scores", content=content(), headers=headers)


def test_what_the_home_has_no_room_for_is_refused_and_leaves_nothing(small: Backend) -> None:
    document = small.problem(upload(small, 5 * MIB), 507, "home-full")
    assert document["title"] == "The home is full"
    assert "of the 4 MiB" in document["detail"]
    assert list(small.home.scores.iterdir()) == []
    assert upload(small, 1 * MIB).status_code == 202
    (small.home.datasets / "filler").write_bytes(bytes(4 * MIB))
    try:
        small.services.tools.usage.measure()
        small.problem(small.http.post("/runs", json=DEMO), 507, "home-full")
        small.problem(upload(small, 1_000), 507, "home-full")
        run = next(small.home.runs.iterdir()).name
        subset = {"name": "mine", "run_id": run, "sample_ids": ["clip-000000"]}
        small.problem(small.http.post("/subsets", json=subset), 507, "home-full")
        batch = {"run_id": run, "path": str(small.home.datasets)}
        small.problem(small.http.post("/scores/batch", json=batch), 507, "home-full")
        assert len(list(small.home.runs.iterdir())) == 1
    finally:
        (small.home.datasets / "filler").unlink()
        small.services.tools.usage.measure()
    assert upload(small, 1_000).status_code == 202


def test_what_accepted_runs_will_write_counts_as_held(tmp_path: Path, valkey_url: str) -> None:
    with serving(settings_for(tmp_path / "home", valkey_url, max_home_bytes=50 * MIB)) as backend:
        answers = []
        for _ in range(4):
            answers.append(backend.http.post("/runs", json=DEMO))
            backend.services.tools.usage.measure()  # the runs have written nothing yet
        assert [answer.status_code for answer in answers] == [202, 202, 202, 507]
        run = answers[0].json()["id"]
        assert backend.http.post(f"/runs/{run}/cancel").status_code == 202
        backend.services.tools.usage.measure()
        assert backend.http.post("/runs", json=DEMO).status_code == 202


def test_a_run_that_the_disk_does_not_give_refuses_no_new_work(tmp_path: Path, valkey_url: str) -> None:
    with serving(settings_for(tmp_path / "home", valkey_url, max_home_bytes=50 * MIB)) as backend:
        run = backend.http.post("/runs", json=DEMO).json()["id"]
        backend.services.tools.usage.measure()
        known = backend.services.runs.expected_bytes()
        backend.ledger.create("run", "run-bad", created_ms=1, facts=JobFacts())
        (backend.home.runs / "run-bad").write_text("")  # stands for a folder that this user may not look into
        assert backend.services.runs.expected_bytes() == known > 0
        backend.services.tools.usage.measure()
        assert backend.http.post("/runs", json=DEMO).status_code == 202
        assert backend.get(f"/runs/{run}")["state"] == "queued"


def test_no_more_uploads_come_in_at_once_than_may(small: Backend) -> None:
    go_on = threading.Event()
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(slow_upload(small, go_on)))
    thread.start()
    try:
        wait_for(lambda: small.services.slots.taken == 1, "the first comes in")
        before = {path.name for path in small.home.scores.iterdir()}
        refused = upload(small, 1_000)
        small.problem(refused, 429, "uploads-full")
        assert int(refused.headers["retry-after"]) >= 1
        assert {path.name for path in small.home.scores.iterdir()} == before
    finally:
        go_on.set()
        thread.join()
    assert answers[0].status_code == 202, answers[0].text
    assert upload(small, 1_000).status_code == 202


def test_one_user_cannot_take_all_places_for_uploads() -> None:
    slots = UploadSlots(Settings(max_uploads=3))
    with slots.slot("ada"):
        with pytest.raises(TooManyError) as refused, slots.slot("ada"):
            pass
        assert refused.value.code == "uploads-share-full"
        with slots.slot("grace"), slots.slot("eve"):
            with pytest.raises(TooManyError) as refused, slots.slot("joan"):
                pass
            assert refused.value.code == "uploads-full"
    with slots.slot("local"), slots.slot("local"), slots.slot("local"):
        assert slots.taken == 3
    assert slots.taken == 0


def test_an_upload_that_stands_still_is_given_up() -> None:
    async def body(pause_s: float) -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"
        await anyio.sleep(pause_s)
        yield b"c"

    async def read(pause_s: float) -> list[bytes]:
        return [chunk async for chunk in steady(body(pause_s), patience_s=0.2)]

    assert run_apart(read(0.0)) == [b"a", b"b", b"c"]
    with pytest.raises(UploadStalledError, match="nothing of it is kept"):
        run_apart(read(5.0))
