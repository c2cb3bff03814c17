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
from safetensors.numpy import load_file

from worker.contract import keys
from worker.contract.events import RunCancelled, RunFinished, RunInterrupted, RunResumed, RunStarted
from worker.contract.journal import read_events
from worker.contract.layout import write_json
from worker.contract.lock import read_holder
from worker.contract.record import Change, JobFacts, read_outcome, read_score_outcome
from worker.contract.resources import Beat
from worker.contract.scores import ScoreRequest
from worker.contract.spec import AudioOnly, AvDigits, GmmAdaptive, RunSpec, VisualOnly
from worker.contract.spec.model import Precomputed
from worker.contract.spec.objectives.teachers import Umt
from worker.datasets.store import PreparedStore

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


def test_a_run_reads_precomputed_features_and_fails_at_once_where_some_are_missing(trained: Any, tmp_path: Any) -> None:
    store = PreparedStore.open(trained.home.dataset(DATA.dataset_id()).store)
    spec = SPEC.model_copy(update={"encoder": Precomputed(features_root=str(tmp_path), num_hidden=8), "epochs": 2})
    trained.accept("run", "bare", spec)
    assert trained.until_state("run", "bare", "failed").error.code == "features-missing"
    rng = np.random.default_rng(0)
    for modality in ("audio", "visual"):
        (tmp_path / modality).mkdir()
        for name in store.sample_ids:
            np.save(tmp_path / modality / f"{name}.npy", rng.normal(size=6).astype(np.float32))
    trained.accept("run", "featured", spec)
    trained.until_state("run", "featured", "finished")
    resolved = json.loads(trained.home.run("featured").resolved_spec.read_bytes())
    [table] = trained.home.dataset(DATA.dataset_id()).features.iterdir()
    assert json.loads((table / "table.json").read_text())["digest"] == resolved["features_digest"]


def newest_weights(workers: Any, run_id: str) -> dict[str, Any]:
    return load_file(max(workers.home.run(run_id).checkpoints.iterdir()))


@pytest.mark.timeout(600)  # six starts of torch, on a machine that may be busy
def test_a_run_taught_by_two_finished_ones_resumes_to_the_bit_and_fails_by_name_without_them(trained: Any) -> None:
    for run_id, objective in (("run-audio-1", AudioOnly()), ("run-visual-1", VisualOnly())):
        trained.accept("run", run_id, SPEC.model_copy(update={"objective": objective, "epochs": 1}))
    taught = Umt(audio_teacher="run-audio-1", visual_teacher="run-visual-1")
    spec = SPEC.model_copy(update={"objective": taught, "epochs": 8})
    trained.until_state("run", "run-visual-1", "finished")
    trained.accept("run", "run-taught-1", spec)
    trained.accept("run", "run-taught-2", spec)
    trained.until_state("run", "run-taught-1", "finished")
    trained.until_epoch("run-taught-2", 1, attempt=1)
    trained.child("run-taught-2").kill()
    assert trained.until_state("run", "run-taught-2", "finished").attempt == 2
    events = comparable(trained, "run-taught-1")
    assert events == comparable(trained, "run-taught-2")
    assert events[0]["method"]["audio_distance"] > 0
    assert events[0]["cost"]["forward_passes"] == 3 * events[0]["cost"]["backward_passes"]
    first, second = (newest_weights(trained, run_id) for run_id in ("run-taught-1", "run-taught-2"))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)

    shutil.rmtree(trained.home.run("run-audio-1").path)
    trained.accept("run", "run-taught-3", spec)
    error = trained.until_state("run", "run-taught-3", "failed").error
    assert error.code == "source-run-missing"
    assert "run-audio-1 (audio_teacher)" in error.detail


PAIR = SPEC.model_copy(update={"num_processes": 2, "epochs": 5})


def peer_of(workers: Any, run_id: str) -> psutil.Process:
    """Returns the second process of a run of two, once it is there."""

    def found() -> psutil.Process | None:
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if run_id in command and "worker.runtime.peer" in command:
                return process
        return None

    peer: psutil.Process = workers.until(found, f"the second process of {run_id}")
    return peer


@pytest.mark.timeout(600)  # eight starts of torch, on a machine that may be busy
def test_a_run_of_two_processes_lives_and_dies_as_one(trained: Any) -> None:
    workers = trained
    workers.accept("run", "pair", PAIR)
    workers.until_state("run", "pair", "finished")
    resolved = json.loads(workers.home.run("pair").resolved_spec.read_bytes())
    assert (resolved["num_processes"], resolved["threads"]) == (2, 1)

    workers.accept("run", "pair-victim", PAIR)
    folder = workers.home.run("pair-victim")
    workers.until_epoch("pair-victim", 1, attempt=1)
    second = peer_of(workers, "pair-victim")
    first = psutil.Process(second.ppid())
    second.kill()
    first.wait(10)  # it does not wait for one that is gone

    workers.until_epoch("pair-victim", 2, attempt=2)
    second = peer_of(workers, "pair-victim")
    write_json(folder.cancel, {"format": 1})
    workers.ledger.cancel("run", "pair-victim")
    workers.until_state("run", "pair-victim", "cancelled")
    second.wait(10)
    folder.outcome.unlink()
    folder.cancel.unlink()
    assert workers.ledger.resume("run", "pair-victim") is Change.OK
    workers.send("run", "pair-victim")

    workers.until(lambda: workers.record("run", "pair-victim").epoch > 3, "it goes on")
    workers.until_state("run", "pair-victim", "finished")
    assert comparable(workers, "pair-victim") == comparable(workers, "pair")
    reasons = [event.reason for event in read_events(folder.events) if isinstance(event, RunInterrupted)]
    assert "process 2 of 2 was killed by SIGKILL" in reasons[0]


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
    workers.until_resumed("victim", 1)
    workers.until_epoch("victim", cancelled_at + 1, attempt=2)
    workers.child("victim").kill()

    workers.until_resumed("victim", 2)
    workers.until_epoch("victim", cancelled_at + 2, attempt=3)
    workers.pool("train").kill()

    workers.until_resumed("victim", 3)
    workers.until_epoch("victim", 6, attempt=4)
    stop(workers, "train")
    assert (workers.record("run", "victim").state, workers.record("run", "victim").attempt) == ("queued", 4)
    workers.start("train")

    workers.until_resumed("victim", 4)
    workers.until_epoch("victim", 8, attempt=4)
    workers.main("train").kill()
    workers.main("train").wait()
    workers.start("train")

    workers.until_resumed("victim", 5)
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
    assert (types.count(RunInterrupted), types.count(RunResumed)) == (4, 5), types  # the cancelled one was resumed too
    assert workers.child("victim") is None
    assert record.run_result() == read_events(folder.events, 0, 1_000)[-1].result  # type: ignore[union-attr]
    names = sorted(path.name for path in folder.checkpoints.iterdir())
    assert names[-2:] == [f"epoch-{epoch:05d}.safetensors" for epoch in (EPOCHS - 1, EPOCHS)]
    assert len(names) <= 3
