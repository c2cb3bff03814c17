"""Batches in this process, or in one that is killed: a real ledger, real clips, a model of one epoch."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis

from tests.faults.limits import file_size_limit
from tests.worker.engine.conftest import MemoryStore, resolved_spec, run_spec
from tests.worker.media.clips import make_clip
from worker.contract.layout import Home
from worker.contract.ledger import Ledger
from worker.contract.record import Claim, JobFacts, JobRecord, SpecRecord
from worker.contract.score_batches import BATCH_COLUMNS, ScoreBatchRequest
from worker.contract.settings import Settings
from worker.engine import checkpoint
from worker.engine.assembly import assemble
from worker.engine.infer import Scorer
from worker.engine.score_table import write_table
from worker.engine.steps import EpochDone
from worker.engine.train import Trainer
from worker.media.decode import decode_clip
from worker.runtime import score_batch as module
from worker.runtime.score_batch import score_batch
from worker.runtime.supervisor import Surroundings

ROOT = Path(__file__).parents[3]
KILLED = """
import sys
from pathlib import Path
from tests.worker.runtime.test_score_batch import surroundings
from worker.runtime.score_batch import score_batch
import redis
home, url = sys.argv[1:]
score_batch("batch-1", surroundings(Path(home), redis.Redis.from_url(url), url))
"""


def surroundings(home: Path, client: redis.Redis, url: str, **changes: Any) -> Surroundings:
    settings = Settings(home=home, redis_url=url, prepare_processes=1)
    fields = {"send": lambda kind, job_id: None, "stopping": lambda: False} | changes
    return Surroundings(settings, Home(home), Ledger(client), "test", **fields)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the checkpoint of a run."""
    home = Home(tmp_path_factory.mktemp("batches") / "home")
    home.create()
    parts = assemble(run_spec(epochs=1), resolved_spec(), MemoryStore({"train": 32, "validation": 16}))
    done = next(step for step in Trainer(parts).run() if isinstance(step, EpochDone))
    checkpoint.save(done.snapshot, home.run("run-1").checkpoints)
    return home.path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all sorts of clips."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "a").mkdir()
    make_clip(folder / "a" / "both.mp4", seconds=0.4)
    make_clip(folder / "a" / "silent.mp4", seconds=0.4, audio=None)
    make_clip(folder / "sound.wav", seconds=0.1, video=None, audio="pcm_s16le")
    (folder / "zebra").mkdir()
    make_clip(folder / "zebra" / "strange.mp4", seconds=0.4)
    (folder / "a" / "broken.mp4").write_bytes(b"no film")
    (folder / "a" / "notes.txt").write_text("x")
    return folder


class Bench:
    """One batch on its home."""

    def __init__(self, home: Path, client: redis.Redis, url: str) -> None:
        self.around = surroundings(home, client, url, send=lambda kind, job_id: self.sent.append(job_id))
        self.sent: list[str] = []
        self.home, self.url = home, url
        self.folder = self.around.home.batch("batch-1")

    def accept(self, path: Path, **fields: Any) -> None:
        self.folder.path.mkdir(parents=True)
        asked = ScoreBatchRequest(run_id="run-1", path=str(path), **fields)
        SpecRecord(id="batch-1", created_at=datetime.now(UTC), spec=asked.model_dump()).write(self.folder.spec)
        self.around.ledger.create("batch", "batch-1", created_ms=1, facts=JobFacts())

    @property
    def record(self) -> JobRecord:
        record = self.around.ledger.get("batch", "batch-1")
        assert record is not None
        return record

    def table(self) -> dict[str, dict[str, Any]]:
        table = pq.read_table(self.folder.table)
        assert table.column_names == list(BATCH_COLUMNS)
        return {Path(row["path"]).name: row for row in table.to_pylist()}


@pytest.fixture
def bench(trained: Path, valkey_url: str, tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "runs").symlink_to(trained / "runs")
    with redis.Redis.from_url(valkey_url) as client:
        yield Bench(tmp_path / "home", client, valkey_url)


def test_a_full_disk_makes_a_batch_wait_at_no_cost_of_tries(
    bench: Bench, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_a_full_disk(*arguments: Any) -> None:
        with file_size_limit(10):
            write_table(*arguments)

    bench.accept(clips)
    with monkeypatch.context() as full:
        full.setattr(module, "write_table", on_a_full_disk)
        score_batch("batch-1", bench.around)
    assert (bench.record.state, bench.record.deaths, bench.record.attempt) == ("queued", 0, 1)
    assert bench.record.waiting_for is not None
    assert bench.record.waiting_for.startswith("disk space")
    assert bench.sent == []  # the reaper looks again after a while
    assert not bench.folder.table.exists()
    score_batch("batch-1", bench.around)
    assert bench.record.state == "finished"


def test_every_clip_has_its_row_and_a_bad_one_costs_itself_alone(bench: Bench, clips: Path) -> None:
    bench.accept(clips)
    score_batch("batch-1", bench.around)
    assert (bench.record.state, bench.record.error) == ("finished", None)
    progress = bench.record.batch_progress()
    assert progress is not None
    assert (progress.done, progress.total, progress.failed, progress.fraction) == (6, 6, 2, 1.0)
    rows = bench.table()
    assert rows["broken.mp4"]["error_code"] == "media-not-decodable"
    assert rows["notes.txt"]["error_code"] == "not-a-clip"
    assert rows["sound.wav"]["modalities_present"] == "audio"
    assert (rows["sound.wav"]["padded"], rows["sound.wav"]["label"], rows["sound.wav"]["gap"]) == (True, None, None)
    assert rows["silent.mp4"]["modalities_present"] == "visual"
    assert (rows["silent.mp4"]["predicted_fused"], rows["silent.mp4"]["p_true_audio"]) == (None, None)
    assert rows["silent.mp4"]["p_true_visual"] > 0
    strange = rows["strange.mp4"]
    assert (strange["label"], strange["gap_of"], strange["p_true_fused"]) == ("zebra", "fused prediction", None)
    assert "label-unknown: the run does not know 'zebra'" in strange["notes"]
    assert strange["error_code"] is None


def test_names_that_are_no_text_have_a_row_each_and_the_batch_ends(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "latin"
    folder.mkdir()
    make_clip(folder / "caf\\xe9.mp4", seconds=0.4)  # in letters what the row of the next one is named
    for name in (b"caf\xe9.mp4", b"caf\xe8.mp4"):
        (folder / os.fsdecode(name)).write_bytes(b"x")
    bench.accept(folder)
    score_batch("batch-1", bench.around)
    assert (bench.record.state, bench.sent) == ("finished", [])
    progress = bench.record.batch_progress()
    assert progress is not None
    assert (progress.done, progress.total, progress.failed) == (2, 2, 1)
    rows = bench.table()
    assert {name: row["error_code"] for name, row in rows.items()} == {
        "caf\\xe9.mp4": None, "caf\\xe8.mp4": "bad-name",
    }  # fmt: skip


def test_rows_of_files_that_are_gone_do_not_count_for_those_that_are_there(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    folder = tmp_path / "few"
    folder.mkdir()
    many_clips(folder, 3)
    (folder / "notes.txt").write_text("x")
    bench.accept(folder)
    bench.around.ledger.create("score", "score-1", created_ms=1, facts=JobFacts())
    score_batch("batch-1", bench.around)  # gives way after a row or two
    (folder / "notes.txt").unlink()
    (folder / "000.mp4").unlink()
    score_batch("batch-1", bench.around)
    progress = bench.record.batch_progress()
    assert progress is not None
    assert (progress.total, progress.failed) == (2, 0)
    assert (bench.record.state == "finished") is (progress.done == 2)
    bench.around.ledger.cancel("score", "score-1")
    score_batch("batch-1", bench.around)
    assert bench.record.state == "finished"
    assert {name: row["error_code"] for name, row in bench.table().items()} == {"001.mp4": None, "002.mp4": None}


def test_a_row_says_what_scoring_the_clip_alone_says(bench: Bench, clips: Path) -> None:
    bench.accept(clips)
    score_batch("batch-1", bench.around)
    row = bench.table()["both.mp4"]
    scorer = Scorer.load(next(bench.around.home.run("run-1").checkpoints.iterdir()))
    alone = scorer.score([decode_clip(clips / "a" / "both.mp4", scorer.preprocess)], label="a")
    assert row["gap"] == pytest.approx(alone.gap, abs=1e-5)
    assert row["posterior_imbalanced"] == pytest.approx(alone.posterior_imbalanced, abs=1e-4)
    assert alone.gap_in_training is not None
    assert row["outside_training"] == alone.gap_in_training.outside
    assert alone.probabilities.fused is not None
    assert row["p_true_fused"] == pytest.approx(alone.probabilities.fused["a"], abs=1e-5)
    assert row["p_predicted_fused"] == pytest.approx(max(alone.probabilities.fused.values()), abs=1e-5)
    assert row["predicted_fused"] == alone.predicted.fused


def many_clips(folder: Path, count: int) -> Path:
    first = make_clip(folder / "000.mp4", seconds=0.4)
    for index in range(1, count):
        os.link(first, folder / f"{index:03d}.mp4")
    return folder


def test_after_a_kill_it_goes_on_and_scores_no_clip_twice(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    bench.accept(many_clips(tmp_path / "many", 400))
    command = [sys.executable, "-c", KILLED, str(bench.home), bench.url]
    process = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (bench.folder.rows.exists() and bench.folder.rows.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    written = bench.folder.rows.read_bytes()
    whole = written[: written.rfind(b"\n") + 1]
    assert 0 < whole.count(b"\n") < 400
    bench.around.ledger.reap("batch", "batch-1", bench.record, "it was killed")
    score_batch("batch-1", bench.around)
    assert (bench.record.state, bench.record.attempt) == ("finished", 2)
    assert bench.folder.rows.read_bytes().startswith(whole)
    lines = bench.folder.rows.read_bytes().splitlines()
    assert len(lines) == len(set(lines)) == 400
    assert list(bench.table()) == [f"{index:03d}.mp4" for index in range(400)]


def test_a_waiting_upload_goes_first_and_the_batch_goes_on_after_it(
    bench: Bench, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    bench.accept(clips)
    bench.around.ledger.create("score", "score-1", created_ms=1, facts=JobFacts())
    score_batch("batch-1", bench.around)
    assert (bench.record.state, bench.sent) == ("queued", ["batch-1"])
    before = len(bench.folder.rows.read_bytes().splitlines())
    assert 1 < before < 6
    score_batch("batch-1", bench.around)  # one row at least each time: it never stands still
    assert len(bench.folder.rows.read_bytes().splitlines()) > before
    bench.around.ledger.cancel("score", "score-1")
    score_batch("batch-1", bench.around)
    assert bench.record.state == "finished"
    assert bench.record.attempt == 1


def test_a_cancelled_batch_keeps_the_rows_that_it_has(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runtime.beating.BEAT_S", 0.05)
    (tmp_path / "many").mkdir()
    bench.accept(many_clips(tmp_path / "many", 400))

    def cancel() -> None:
        while not (bench.folder.rows.exists() and bench.folder.rows.stat().st_size):
            time.sleep(0.01)
        bench.around.ledger.cancel("batch", "batch-1")

    thread = threading.Thread(target=cancel)
    thread.start()
    score_batch("batch-1", bench.around)
    thread.join()
    assert bench.record.state == "cancelled"
    assert 0 < len(bench.table()) < 400


def test_a_worker_that_stops_gives_the_batch_back(bench: Bench, clips: Path) -> None:
    bench.accept(clips)
    asked = iter([False])
    object.__setattr__(bench.around, "stopping", lambda: next(asked, True))
    score_batch("batch-1", bench.around)
    assert bench.record.state == "queued"
    assert not bench.folder.outcome.exists()


@pytest.mark.parametrize(
    ("fields", "name", "code"),
    [({}, "none", "dataset-not-found"), ({"epoch": 7}, "", "no-checkpoint")],
)
def test_what_cannot_be_done_at_all_fails_with_its_reason(
    bench: Bench, clips: Path, fields: dict[str, Any], name: str, code: str
) -> None:
    bench.accept(clips / name, **fields)
    score_batch("batch-1", bench.around)
    assert bench.record.state == "failed"
    assert bench.record.error is not None
    assert bench.record.error.code == code


def test_all_rows_are_by_the_epoch_of_the_first_claim(bench: Bench, clips: Path) -> None:
    bench.accept(clips)
    bench.folder.plan.write_text('{"epoch": 9}')
    score_batch("batch-1", bench.around)
    assert bench.record.error is not None
    assert "no checkpoint of epoch 9" in bench.record.error.detail


def test_a_batch_that_another_holds_is_left_alone(bench: Bench, clips: Path) -> None:
    bench.accept(clips)
    assert isinstance(bench.around.ledger.claim("batch", "batch-1", "another"), Claim)
    score_batch("batch-1", bench.around)
    assert not bench.folder.rows.exists()
