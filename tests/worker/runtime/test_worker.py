"""Whatever is killed, a run ends as an undisturbed one: real Celery workers, real children, a tiny dataset."""

from __future__ import annotations

import json
import shutil
import signal
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from worker.contract import keys
from worker.contract.events import RunCancelled, RunFinished, RunInterrupted, RunResumed, RunStarted
from worker.contract.journal import read_events
from worker.contract.layout import write_json
from worker.contract.lock import read_holder
from worker.contract.record import Change, JobFacts, read_outcome, read_score_outcome
from worker.contract.resources import Beat
from worker.contract.scores import ScoreRequest
from worker.contract.spec import AvDigits, GmmAdaptive, RunSpec

DATA = AvDigits(num_train=60, num_validation=20, num_test=20, seed=7)
EPOCHS = 14
SPEC = RunSpec(
    dataset=DATA,
    objective=GmmAdaptive(warm_up_epochs=1),
    epochs=EPOCHS,
    batch_size=10,
    precision="fp32",
    device="cpu",
    threads=1,
)
VOLATILE = {"seq", "time", "attempt", "seconds", "samples_per_s", "run_id"}


def comparable(workers: Any, run_id: str) -> list[dict[str, Any]]:
    events = read_events(workers.home.run(run_id).events)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    stream = [json.loads(fields[b"event"]) for _, fields in workers.client.xrange(keys.events(run_id))]
    assert stream == [event.model_dump(mode="json") for event in events]
    kept = [event.model_dump(mode="json", exclude=VOLATILE) for event in events]
    return [event for event in kept if event["type"] in ("epoch_finished", "run_finished")]


def assert_same_samples(workers: Any, first: str, second: str) -> None:
    one, other = workers.home.run(first), workers.home.run(second)
    for epoch in range(1, EPOCHS + 1):
        assert pq.read_table(one.sample_table(epoch)).equals(pq.read_table(other.sample_table(epoch)))
    for name in ("gaps", "posteriors"):
        rows = [np.fromfile(getattr(folder, name), np.float32).reshape(EPOCHS, -1) for folder in (one, other)]
        np.testing.assert_array_equal(*rows)


def stop(workers: Any, queue: str) -> None:
    """Stops a worker as `gapscope up` does, and sees that it leaves nobody behind."""
    below = psutil.Process(workers.main(queue).pid).children(recursive=True)
    begun = time.monotonic()
    workers.main(queue).send_signal(signal.SIGTERM)
    workers.main(queue).wait(20)
    assert time.monotonic() - begun < 10
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in below)
    assert workers.client.keys(f"{keys.PREFIX}:worker:{queue}@*") == []


@pytest.fixture(scope="module")
def trained(workers: Any) -> Any:
    """A home with a finished run, `undisturbed`, and a train worker."""
    dataset_id = DATA.dataset_id()
    workers.start("train")
    workers.accept("dataset", dataset_id, DATA)
    workers.accept("run", "undisturbed", SPEC)
    workers.until(lambda: workers.record("run", "undisturbed").waiting_for, "the run waits for its dataset", 20)
    workers.start("prepare")
    workers.until_state("run", "undisturbed", "finished")
    assert workers.record("dataset", dataset_id).state == "finished"
    stop(workers, "prepare")
    return workers


def test_a_worker_says_that_it_lives(trained: Any) -> None:
    [key] = trained.client.keys("*:worker:train@*")
    beat = Beat.model_validate_json(trained.client.get(key))
    assert (beat.queue, beat.pid, beat.busy_with) == ("train", trained.main("train").pid, None)
    assert 0 < trained.client.pttl(key) <= 10_000


def test_a_clip_is_scored(trained: Any) -> None:
    trained.start("score")
    clip = next(path for path in sorted(trained.home.dataset(DATA.dataset_id()).clips.rglob("*.*")))
    for score_id, label in (("good", "3"), ("bad", "no digit")):
        folder = trained.home.score(score_id)
        folder.path.mkdir(parents=True)
        shutil.copy(clip, folder.path / f"file{clip.suffix}")
        request = ScoreRequest(
            id=score_id,
            run_id="undisturbed",
            filename=clip.name,
            file=f"file{clip.suffix}",
            label=label,
            created_at=datetime.now(UTC),
        )
        folder.request.write_text(request.model_dump_json())
        trained.ledger.create("score", score_id, created_ms=1, facts=JobFacts(run_id="undisturbed"))
        trained.send("score", score_id)
    trained.until_state("score", "good", "finished")
    outcome = read_score_outcome(trained.home.score("good").result)
    assert outcome is not None
    assert outcome.result is not None
    assert outcome.result.modalities_present == ["audio", "visual"]
    assert sorted(outcome.result.knock_outs) == ["black", "freeze", "mute"]
    result = trained.record("run", "undisturbed").run_result()
    assert outcome.epoch == result.chosen.epoch
    failed = trained.until_state("score", "bad", "failed")
    assert failed.error.code == "label-unknown"
    stop(trained, "score")


@pytest.mark.timeout(600)  # seven starts of torch, on a machine that may be busy
def test_a_run_that_suffered_everything_equals_an_undisturbed_one(trained: Any, valkey_server: Any) -> None:
    workers = trained
    expected = comparable(workers, "undisturbed")
    workers.accept("run", "victim", SPEC)
    folder = workers.home.run("victim")
    for _ in range(3):
        workers.send("run", "victim")  # messages too many

    workers.until_epoch("victim", 1, attempt=1)
    [key] = workers.client.keys("*:worker:train@*")
    assert Beat.model_validate_json(workers.client.get(key)).busy_with == "victim"
    write_json(folder.cancel, {"format": 1})
    workers.ledger.cancel("run", "victim")
    workers.until_state("run", "victim", "cancelled")
    assert isinstance(read_events(folder.events)[-1], RunCancelled)
    outcome = read_outcome(folder.outcome)
    assert outcome is not None
    assert outcome.state == "cancelled"
    folder.outcome.unlink()
    folder.cancel.unlink()
    assert workers.ledger.resume("run", "victim") is Change.OK
    workers.send("run", "victim")

    cancelled_at = workers.record("run", "victim").epoch
    workers.until_epoch("victim", cancelled_at + 1, attempt=2)
    workers.child("victim").kill()

    workers.until_epoch("victim", cancelled_at + 2, attempt=3)
    workers.pool("train").kill()

    workers.until_epoch("victim", 6, attempt=4)
    stop(workers, "train")
    assert (workers.record("run", "victim").state, workers.record("run", "victim").attempt) == ("queued", 4)
    workers.start("train")

    workers.until_epoch("victim", 8, attempt=4)
    workers.main("train").kill()
    workers.main("train").wait()
    workers.start("train")

    workers.until_epoch("victim", 9, attempt=5)
    valkey_server.kill()
    time.sleep(1.0)
    valkey_server.start()
    workers.client.flushall()  # and what it knew is gone; the backend rebuilds from the folders
    holder = read_holder(folder.lock)
    assert holder is not None
    workers.ledger.restore(
        "run", "victim", state="running", created_ms=1, facts=JobFacts(), attempt=5, token=holder.token
    )

    record = workers.until_state("run", "victim", "finished")
    assert (record.attempt, record.epoch) == (5, EPOCHS)
    assert comparable(workers, "victim") == expected
    assert_same_samples(workers, "victim", "undisturbed")
    types = [type(event) for event in read_events(folder.events)]
    assert (types[0], types[-1], types.count(RunStarted)) == (RunStarted, RunFinished, 1)
    # An attempt that was killed before it told of its start leaves no trace; each stop that was told has its resume.
    assert types.count(RunResumed) == types.count(RunInterrupted) + 1, types
    assert types.count(RunInterrupted) in (3, 4), types
    assert workers.child("victim") is None
    assert record.run_result() == read_events(folder.events, 0, 1_000)[-1].result  # type: ignore[union-attr]
    names = sorted(path.name for path in folder.checkpoints.iterdir())
    assert names[-2:] == [f"epoch-{epoch:05d}.safetensors" for epoch in (EPOCHS - 1, EPOCHS)]
    assert len(names) <= 3
