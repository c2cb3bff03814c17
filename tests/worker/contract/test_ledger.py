"""Every change of a job against a real server; a stale token is refused everywhere."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from worker.contract import keys
from worker.contract.errors import CorruptRecordError, Problem
from worker.contract.ledger import STREAM_LIFE_S, Ledger
from worker.contract.record import MAX_DEATHS, Appended, Change, Claim, JobFacts, Moved, Places, Refusal, Renewal

FACTS = JobFacts(name="a run", tags=("x", "y"), dataset_id="digits", objective="joint", epochs=20)
HELD = ("running", "cancelling")


@pytest.fixture(params=[True, False], ids=["text", "bytes"])
def client(valkey_url: str, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url, decode_responses=request.param) as client:
        yield client


@pytest.fixture
def ledger(client: redis.Redis) -> Ledger:
    return Ledger(client)


def queued(ledger: Ledger, job_id: str = "r1") -> None:
    assert ledger.create("run", job_id, created_ms=1_000, facts=FACTS) is Change.OK


def claimed(ledger: Ledger, job_id: str = "r1", holder: str = "w1") -> Claim:
    claim = ledger.claim("run", job_id, holder)
    assert isinstance(claim, Claim)
    return claim


def record(ledger: Ledger, job_id: str = "r1") -> Any:
    found = ledger.get("run", job_id)
    assert found is not None
    return found


def test_create_is_idempotent_and_readable(ledger: Ledger) -> None:
    queued(ledger)
    assert ledger.create("run", "r1", created_ms=9, facts=JobFacts()) is Change.EXISTS
    ledger.create("run", "r2", created_ms=2_000, facts=FACTS, waiting_for="dataset digits")
    job = record(ledger)
    assert (job.state, job.token, job.attempt, job.deaths, job.created_ms) == ("queued", 0, 1, 0, 1_000)
    assert job.facts == FACTS
    assert ledger.ids("run") == ["r2", "r1"]
    assert sorted(ledger.active_ids("run")) == ["r1", "r2"]
    assert [job.id for job in ledger.active("run")] == ["r1", "r2"]
    assert ledger.waiting_on("digits") == ["r2"]
    assert ledger.get("run", "nothing") is None
    assert ledger.get_many("run", []) == []


def test_claim_gives_a_rising_token_and_refuses_a_second_holder(ledger: Ledger) -> None:
    assert ledger.claim("run", "r1", "w1") is Refusal.UNKNOWN
    queued(ledger)
    first = claimed(ledger)
    assert ledger.claim("run", "r1", "w2") is Refusal.TAKEN
    assert ledger.claim("run", "r1", "w1") == first  # the answer was lost, the call repeated
    assert ledger.requeue("run", "r1", first.token, "killed by SIGKILL") is Change.OK
    second = claimed(ledger, holder="w2")
    assert second.token > first.token
    assert (second.attempt, second.deaths, second.reason) == (2, 1, "killed by SIGKILL")
    assert second.started_ms == first.started_ms
    ledger.transition("run", "r1", second.token, HELD, "finished")
    assert ledger.claim("run", "r1", "w3") is Refusal.ENDED


def test_a_run_waits_for_its_dataset(ledger: Ledger) -> None:
    queued(ledger)
    ledger.create("dataset", "digits", created_ms=1, facts=JobFacts())
    assert ledger.claim("run", "r1", "w1", dataset_id="digits") is Refusal.WAITING
    assert record(ledger).waiting_for == "dataset digits"
    assert ledger.waiting_on("digits") == ["r1"]
    preparing = ledger.claim("dataset", "digits", "p1")
    assert isinstance(preparing, Claim)
    assert ledger.claim("run", "r1", "w1", dataset_id="digits") is Refusal.WAITING
    ledger.transition("dataset", "digits", preparing.token, HELD, "finished")
    assert isinstance(ledger.claim("run", "r1", "w1", dataset_id="digits"), Claim)
    assert record(ledger).waiting_for is None


def test_a_run_waits_for_a_dataset_that_is_not_listed_only_until_the_ledger_is_rebuilt(
    ledger: Ledger, client: redis.Redis
) -> None:
    queued(ledger)
    assert ledger.claim("run", "r1", "w1", dataset_id="digits") is Refusal.WAITING
    client.set(keys.GENERATION, "1")
    assert isinstance(ledger.claim("run", "r1", "w1", dataset_id="digits"), Claim)


def test_renew_raises_the_beat_and_tells_of_a_cancel(ledger: Ledger) -> None:
    queued(ledger)
    claim = claimed(ledger)
    before = record(ledger).beat
    assert ledger.renew(claim) is Renewal.OK
    assert record(ledger).beat == before + 1
    assert ledger.cancel("run", "r1") == Moved("cancelling", claim.token)
    assert ledger.renew(claim) is Renewal.CANCEL
    assert ledger.cancel("run", "r1") == Moved("cancelling", claim.token)
    assert ledger.transition("run", "r1", claim.token, HELD, "cancelled") is Change.OK
    assert ledger.renew(claim) is Renewal.LOST
    assert ledger.cancel("run", "r1") is Change.REFUSED


def test_cancel_of_a_queued_job_is_final_and_its_holder_from_before_is_refused(ledger: Ledger) -> None:
    queued(ledger)
    claim = claimed(ledger)
    ledger.reap("run", "r1", record(ledger), "silent")
    moved = ledger.cancel("run", "r1")
    assert isinstance(moved, Moved)
    assert moved.state == "cancelled"
    assert ledger.renew(claim) is Renewal.LOST
    assert ledger.append("r1", claim.token, 1, "{}") is Appended.LOST
    assert ledger.append("r1", moved.token, 1, "{}") is Appended.OK  # whoever cancelled closes the record
    assert ledger.active_ids("run") == []
    assert record(ledger).finished_ms is not None


def test_end_keeps_fields_and_may_be_repeated(ledger: Ledger) -> None:
    queued(ledger)
    claim = claimed(ledger)
    problem = Problem(title="t", status=422, detail="d", code="c")
    for _ in range(2):
        change = ledger.transition(
            "run", "r1", claim.token, HELD, "failed", error=problem, fields={"summary": None, "result": "{}"}
        )
        assert change is Change.OK
    job = record(ledger)
    assert (job.state, job.error, job.result, job.holder) == ("failed", problem, "{}", None)
    assert ledger.transition("run", "r1", claim.token, HELD, "finished") is Change.REFUSED


def test_from_state_is_checked(ledger: Ledger) -> None:
    queued(ledger)
    claim = claimed(ledger)
    ledger.cancel("run", "r1")
    assert ledger.transition("run", "r1", claim.token, ("running",), "finished") is Change.REFUSED
    assert ledger.transition("run", "r1", claim.token, ("cancelling",), "finished") is Change.OK


def test_a_yield_keeps_the_attempt_a_death_does_not(ledger: Ledger) -> None:
    queued(ledger)
    claim = claimed(ledger)
    assert ledger.yield_("run", "r1", claim.token, "the worker stops", waiting_for="a host") is Change.OK
    job = record(ledger)
    assert (job.state, job.attempt, job.deaths, job.reason) == ("queued", 1, 0, "the worker stops")
    assert job.waiting_for == "a host"
    assert ledger.renew(claim) is Renewal.LOST
    claim = claimed(ledger)
    ledger.requeue("run", "r1", claim.token, "signal 9")
    assert (record(ledger).attempt, record(ledger).deaths, record(ledger).waiting_for) == (2, 1, None)


def test_neither_requeue_nor_yield_outlives_a_cancel(ledger: Ledger) -> None:
    queued(ledger)
    claim = claimed(ledger)
    ledger.cancel("run", "r1")
    assert ledger.requeue("run", "r1", claim.token, "x") is Change.REFUSED
    assert ledger.yield_("run", "r1", claim.token, "x") is Change.REFUSED
    assert record(ledger).state == "cancelling"


def test_deaths_are_counted_since_the_newest_epoch(ledger: Ledger) -> None:
    queued(ledger)
    for death in range(MAX_DEATHS):
        claim = claimed(ledger)
        assert (claim.deaths, claim.exhausted) == (death, False)
        ledger.requeue("run", "r1", claim.token, "signal 9")
    claim = claimed(ledger)
    assert ledger.append("r1", claim.token, 1, "{}", {"epoch": "1"}) is Appended.OK
    ledger.requeue("run", "r1", claim.token, "signal 9")
    for _ in range(MAX_DEATHS):
        claim = claimed(ledger)
        assert not claim.exhausted
        ledger.requeue("run", "r1", claim.token, "signal 9")
    assert claimed(ledger).exhausted


def test_reap_takes_only_a_job_whose_beat_is_still_the_seen_one(ledger: Ledger) -> None:
    queued(ledger)
    claim = claimed(ledger)
    seen = record(ledger)
    ledger.renew(claim)
    assert ledger.reap("run", "r1", seen, "silent") is Change.REFUSED
    seen = record(ledger)
    assert ledger.reap("run", "r1", seen, "silent") == Moved("queued", claim.token)
    assert ledger.reap("run", "r1", seen, "silent") is Change.REFUSED
    assert (record(ledger).attempt, record(ledger).reason) == (2, "silent")
    second = claimed(ledger, holder="w2")
    assert ledger.reap("run", "r1", seen, "silent") is Change.REFUSED
    assert ledger.renew(claim) is Renewal.LOST
    assert ledger.renew(second) is Renewal.OK


def test_a_reaped_job_that_nobody_took_is_its_holders_again(ledger: Ledger) -> None:
    queued(ledger)
    claim = claimed(ledger)
    ledger.reap("run", "r1", record(ledger), "silent")
    assert ledger.append("r1", claim.token, 1, "{}") is Appended.OK
    assert ledger.renew(claim) is Renewal.OK
    job = record(ledger)
    assert (job.state, job.attempt, job.holder) == ("running", 1, "w1")
    ledger.reap("run", "r1", job, "silent")
    assert ledger.transition("run", "r1", claim.token, HELD, "finished") is Change.OK


def test_reap_of_a_job_to_be_cancelled_cancels_it(ledger: Ledger) -> None:
    queued(ledger)
    claim = claimed(ledger)
    ledger.cancel("run", "r1")
    moved = ledger.reap("run", "r1", record(ledger), "silent")
    assert isinstance(moved, Moved)
    assert (moved.state, moved.token) == ("cancelled", claim.token + 1)
    assert ledger.active_ids("run") == []


def test_resume_is_for_failed_and_cancelled_jobs(ledger: Ledger) -> None:
    assert ledger.resume("run", "r1") is Change.UNKNOWN
    queued(ledger)
    assert ledger.resume("run", "r1") is Change.REFUSED
    claim = claimed(ledger)
    assert ledger.resume("run", "r1") is Change.REFUSED
    problem = Problem(title="t", status=422, detail="d", code="c")
    ledger.transition("run", "r1", claim.token, HELD, "failed", error=problem)
    assert ledger.resume("run", "r1") is Change.OK
    job = record(ledger)
    assert (job.state, job.attempt, job.deaths, job.error, job.finished_ms) == ("queued", 2, 0, None, None)
    assert ledger.active_ids("run") == ["r1"]
    claim = claimed(ledger)
    ledger.transition("run", "r1", claim.token, HELD, "finished")
    assert ledger.resume("run", "r1") is Change.REFUSED


def test_stream_refuses_doubles_and_holes(ledger: Ledger, client: redis.Redis) -> None:
    queued(ledger)
    claim = claimed(ledger)
    assert ledger.append("r1", claim.token, 1, "one") is Appended.OK
    assert ledger.append("r1", claim.token, 1, "uno") is Appended.DOUBLE
    assert ledger.append("r1", claim.token, 3, "three") is Appended.BEHIND
    assert ledger.append("r1", claim.token, 2, "two", {"summary": "{}", "epoch": "1"}) is Appended.OK
    assert ledger.newest_seq("r1") == 2
    assert client.xlen(keys.events("r1")) == 2
    assert (record(ledger).summary, record(ledger).epoch) == ("{}", 1)
    assert ledger.append("r2", claim.token, 1, "x") is Appended.UNKNOWN


def test_stream_of_an_ended_run_goes_after_a_while_and_that_of_a_resumed_one_stays(
    ledger: Ledger, client: redis.Redis
) -> None:
    queued(ledger)
    claim, stream = claimed(ledger), keys.events("r1")
    ledger.append("r1", claim.token, 1, "one")
    assert client.ttl(stream) == -1
    ledger.transition("run", "r1", claim.token, HELD, "failed")
    assert 0 < client.ttl(stream) <= STREAM_LIFE_S
    ledger.append("r1", claim.token, 2, "closed late")
    assert 0 < client.ttl(stream) <= STREAM_LIFE_S
    ledger.resume("run", "r1")
    assert ledger.append("r1", claimed(ledger).token, 3, "resumed") is Appended.OK
    assert client.ttl(stream) == -1


def test_streams_of_before_the_rule_go_too(ledger: Ledger, client: redis.Redis) -> None:
    for job_id in ("r1", "r2"):
        queued(ledger, job_id)
        ledger.append(job_id, claimed(ledger, job_id).token, 1, "one")
    ledger.transition("run", "r1", record(ledger).token, HELD, "finished")
    client.persist(keys.events("r1"))
    ledger.let_streams_go()
    assert client.ttl(keys.events("r1")) > 0
    assert client.ttl(keys.events("r2")) == -1


def test_wait_is_for_queued_jobs(ledger: Ledger) -> None:
    assert ledger.wait("run", "r1", "x") is Change.UNKNOWN
    queued(ledger)
    assert ledger.wait("run", "r1", "a worker with 2 devices") is Change.OK
    assert record(ledger).waiting_for == "a worker with 2 devices"
    ledger.wait("run", "r1", None)
    assert record(ledger).waiting_for is None
    claimed(ledger)
    assert ledger.wait("run", "r1", "x") is Change.REFUSED


def test_delete_is_for_ended_jobs(ledger: Ledger, client: redis.Redis) -> None:
    assert ledger.delete("run", "r1") is Change.UNKNOWN
    queued(ledger)
    assert ledger.delete("run", "r1") is Change.REFUSED
    claim = claimed(ledger)
    ledger.append("r1", claim.token, 1, "x")
    ledger.transition("run", "r1", claim.token, HELD, "finished")
    assert ledger.delete("run", "r1") is Change.OK
    assert client.keys("*") == []


def test_every_change_of_a_stale_holder_is_refused(ledger: Ledger) -> None:
    queued(ledger)
    stale = claimed(ledger)
    ledger.requeue("run", "r1", stale.token, "signal 9")
    current = claimed(ledger, holder="w2")
    before = record(ledger)
    assert ledger.renew(stale) is Renewal.LOST
    assert ledger.set_progress("run", "r1", stale.token, "{}") is Change.LOST
    assert ledger.append("r1", stale.token, 1, "x") is Appended.LOST
    assert ledger.transition("run", "r1", stale.token, HELD, "finished") is Change.LOST
    assert ledger.requeue("run", "r1", stale.token, "x") is Change.LOST
    assert ledger.yield_("run", "r1", stale.token, "x") is Change.LOST
    assert record(ledger) == before
    assert ledger.set_progress("run", "r1", current.token, "{}") is Change.OK
    assert record(ledger).progress == "{}"


def test_emptied_redis_gives_the_job_back_to_its_living_holder(ledger: Ledger, client: redis.Redis) -> None:
    queued(ledger)
    claim = claimed(ledger)
    client.flushall()
    assert ledger.renew(claim) is Renewal.UNKNOWN
    assert ledger.append("r1", claim.token, 7, "x") is Appended.UNKNOWN
    # The lock file was written at the claim before this one: the rebuilt hash has an older token.
    restored = ledger.restore("run", "r1", state="running", created_ms=1_000, facts=FACTS, token=claim.token - 5)
    assert restored is Change.OK
    assert ledger.renew(claim) is Renewal.OK
    assert ledger.append("r1", claim.token, 7, "x") is Appended.OK
    assert record(ledger).token == claim.token
    again = ledger.restore("run", "r1", state="queued", created_ms=1, facts=JobFacts(), token=claim.token - 9)
    assert again is Change.EXISTS
    assert (record(ledger).token, record(ledger).state) == (claim.token, "running")


def test_a_claim_after_emptying_beats_every_claim_before(ledger: Ledger, client: redis.Redis) -> None:
    queued(ledger)
    old = claimed(ledger)
    client.flushall()
    time.sleep(0.002)
    ledger.restore("run", "r1", state="queued", created_ms=1_000, facts=FACTS)
    new = claimed(ledger, holder="w2")
    assert new.token > old.token
    assert ledger.renew(old) is Renewal.LOST


def test_a_foreign_hash_is_told_as_damaged(ledger: Ledger, client: redis.Redis) -> None:
    client.hset(keys.job("run", "r1"), mapping={"id": "r1", "state": "dreaming"})
    with pytest.raises(CorruptRecordError):
        ledger.get("run", "r1")


def _race(url: str, job_id: str, name: str, start: Any, wins: Any) -> None:
    with redis.Redis.from_url(url) as client:
        ledger = Ledger(client)
        start.wait()
        if isinstance(ledger.claim("run", job_id, name), Claim):
            wins.append(name)


def test_of_many_claimants_in_threads_one_wins_every_time(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        ledger = Ledger(client)
        for trial in range(60):
            job_id, wins, start = f"r{trial}", list[str](), threading.Event()
            queued(ledger, job_id)
            names = [f"w{number}" for number in range(4)]
            threads = [threading.Thread(target=_race, args=(valkey_url, job_id, name, start, wins)) for name in names]
            for thread in threads:
                thread.start()
            start.set()
            for thread in threads:
                thread.join()
            assert len(wins) == 1


def _claim_all(url: str, name: str, job_ids: list[str], barrier: Any, wins: Any) -> None:
    with redis.Redis.from_url(url) as client:
        ledger = Ledger(client)
        barrier.wait()
        wins.put([job_id for job_id in job_ids if isinstance(ledger.claim("run", job_id, name), Claim)])


def test_two_processes_claim_each_job_once(valkey_url: str) -> None:
    job_ids = [f"r{number}" for number in range(300)]
    with redis.Redis.from_url(valkey_url) as client:
        for job_id in job_ids:
            queued(Ledger(client), job_id)
    context = multiprocessing.get_context("spawn")
    barrier, wins = context.Barrier(2), context.Queue()
    claimants = [
        context.Process(target=_claim_all, args=(valkey_url, name, job_ids, barrier, wins)) for name in ("a", "b")
    ]
    for process in claimants:
        process.start()
    claimed_ids = wins.get(timeout=60) + wins.get(timeout=60)
    for process in claimants:
        process.join()
    assert sorted(claimed_ids) == sorted(job_ids)


def test_of_many_who_want_the_last_places_no_two_get_the_same(ledger: Ledger) -> None:
    answers: list[Change] = []
    places = Places(queued=5, queued_of_owner=3)
    ready = threading.Barrier(12)

    def want(number: int) -> None:
        ready.wait()
        owner = "ada" if number % 2 else "grace"
        answers.append(ledger.create("run", f"r{number}", created_ms=number, facts=FACTS, owner=owner, places=places))

    threads = [threading.Thread(target=want, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(Change.OK) == 5
    assert set(answers) <= {Change.OK, Change.QUEUE_FULL, Change.SHARE_FULL}
    owners = [job.owner for job in ledger.active("run")]
    assert sorted((owners.count("ada"), owners.count("grace"))) == [2, 3]


def test_a_place_is_free_again_once_a_job_has_begun_and_resuming_takes_one(ledger: Ledger) -> None:
    one = Places(queued=1)
    queued(ledger, "r1")
    assert ledger.create("run", "r2", created_ms=2, facts=FACTS, places=one) is Change.QUEUE_FULL
    assert ledger.get("run", "r2") is None
    ledger.transition("run", "r1", claimed(ledger).token, HELD, "failed")
    assert ledger.create("run", "r2", created_ms=2, facts=FACTS, owner="ada", places=one) is Change.OK
    assert ledger.resume("run", "r1", owner="ada", places=one) is Change.QUEUE_FULL
    share = Places(queued=9, queued_of_owner=1)
    assert ledger.resume("run", "r1", owner="ada", places=share) is Change.SHARE_FULL
    assert record(ledger).state == "failed"
    assert ledger.resume("run", "r1", owner="grace", places=share) is Change.OK
    assert record(ledger).owner == "grace"
    assert ledger.create("run", "r3", created_ms=3, facts=FACTS, places=Places(kept=2)) is Change.TOO_MANY
