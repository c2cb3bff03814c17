"""Brings the ledger back from the folders when Redis was emptied (its `generation` key is missing)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from backend.archive import read_json
from backend.event_log import EventLog
from backend.jobs import JobTools, now_ms
from backend.run_jobs import RunJobs, dataset_id_of, facts_of
from worker.contract.errors import GapscopeError
from worker.contract.events import EpochFinished, RunFinished
from worker.contract.journal import epoch_fields, outcome_of
from worker.contract.ledger import DATASET_PREFIX
from worker.contract.lock import read_holder
from worker.contract.record import (
    JobFacts,
    LedgerState,
    Moved,
    Outcome,
    ScoreOutcome,
    SpecRecord,
    read_outcome,
    read_score_outcome,
    read_spec,
)
from worker.contract.scores import ScoreRequest
from worker.contract.spec import RunSpec

log = logging.getLogger(__name__)


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1_000)


def _state(outcome: Outcome | None, lock: Path, cancel: Path) -> tuple[LedgerState, int]:
    """Returns the state and token to restore a job with."""
    holder = read_holder(lock)
    token = holder.token if holder else 0
    if outcome is not None:
        return outcome.state, token
    if holder is not None:  # it may live: then it goes on, else its beat stands still and it is reaped
        return ("cancelling" if cancel.exists() else "running"), token
    return ("cancelled" if cancel.exists() else "queued"), token


def _outcome_fields(outcome: Outcome | ScoreOutcome | None) -> dict[str, str | None]:
    if outcome is None:
        return {}
    error = outcome.error.model_dump_json() if outcome.error else None
    return {"finished_ms": str(_ms(outcome.finished_at)), "error": error}


class Rebuilder:
    """Restores every job whose folder lies in the home."""

    def __init__(self, tools: JobTools, runs: RunJobs, events: EventLog) -> None:
        self._tools = tools
        self._runs = runs
        self._events = events

    def run_if_emptied(self) -> bool:
        """Rebuilds the ledger if Redis was emptied; returns whether it did."""
        live = self._tools.live
        if live.generation() is not None:
            return False
        home = self._tools.home
        counts = {
            "datasets": self._each(home.datasets, self._restore_dataset),
            "runs": self._each(home.runs, self._restore_run),
            "scores": self._each(home.scores, self._restore_score),
        }
        live.set_generation(str(now_ms()))
        log.info("Redis was empty; brought back from the folders: %s", counts)
        return True

    def _each(self, folder: Path, restore: Callable[[str], bool]) -> int:
        restored = 0
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or not path.is_dir():
                continue
            try:
                restored += restore(path.name)
            except (GapscopeError, ValidationError, OSError) as error:  # one damaged folder must not hide the others
                log.error("%s cannot be brought back: %s", path, error)
        return restored

    def _restore_dataset(self, dataset_id: str) -> bool:
        folder = self._tools.home.dataset(dataset_id)
        record = read_spec(folder.spec)
        if record is None:
            return False
        outcome = read_outcome(folder.outcome)
        state, token = _state(outcome, folder.lock, folder.cancel)
        self._tools.ledger.restore(
            "dataset",
            dataset_id,
            state=state,
            created_ms=_ms(record.created_at),
            facts=JobFacts(name=dataset_id, dataset_id=dataset_id, dataset_kind=str(record.spec.get("kind", ""))),
            token=token,
            fields=_outcome_fields(outcome),
        )
        return True

    def _restore_run(self, run_id: str) -> bool:
        tools, folder = self._tools, self._tools.home.run(run_id)
        record = read_spec(folder.spec)
        if record is None:
            return False
        last = next(self._events.newest_first(run_id), None)
        outcome = read_outcome(folder.outcome)
        if outcome is None and isinstance(last, RunFinished):
            outcome = outcome_of(last)
        state, token = _state(outcome, folder.lock, folder.cancel)
        if outcome is not None and last is not None and outcome_of(last) is None:
            log.warning("%s: outcome.json says %s, its last event is %s", run_id, outcome.state, last.type)
        fields = {**self._run_fields(run_id), **_outcome_fields(outcome)}
        facts = self._run_facts(record)
        if state == "queued" and not self._is_ready(facts.dataset_id):
            fields["waiting_for"] = DATASET_PREFIX + facts.dataset_id
        attempt = last.attempt if last is not None else 1
        if outcome is None and outcome_of(last) is not None:  # failed or cancelled, and resumed since
            attempt += 1
        tools.ledger.restore(
            "run",
            run_id,
            state=state,
            created_ms=_ms(record.created_at),
            facts=facts,
            attempt=max(attempt, 1),
            token=token,
            fields=fields,
        )
        if state == "cancelled" and outcome is None:
            self._runs.close_cancelled(run_id, Moved("cancelled", token))
        return True

    def _run_facts(self, record: SpecRecord) -> JobFacts:
        spec = RunSpec.model_validate(record.spec)
        dataset_id = dataset_id_of(spec)
        dataset = self._tools.ledger.get("dataset", dataset_id)
        return facts_of(spec, dataset_id, dataset.facts.dataset_kind if dataset else "")

    def _is_ready(self, dataset_id: str) -> bool:
        dataset = self._tools.ledger.get("dataset", dataset_id)
        return dataset is not None and dataset.state == "finished"

    def _run_fields(self, run_id: str) -> dict[str, str | None]:
        fields: dict[str, str | None] = {}
        for event in self._events.newest_first(run_id):
            if isinstance(event, RunFinished):
                fields["result"] = event.result.model_dump_json()
            if isinstance(event, EpochFinished):
                fields |= epoch_fields(event)
                break
        started = self._events.started_at(run_id)
        return fields | {"started_ms": str(_ms(started)) if started else None}

    def _restore_score(self, score_id: str) -> bool:
        folder = self._tools.home.score(score_id)
        document = read_json(folder.request)
        if document is None:
            return False
        request = ScoreRequest.model_validate(document)
        outcome = read_score_outcome(folder.result)
        self._tools.ledger.restore(
            "score",
            score_id,
            state="queued" if outcome is None else outcome.state,
            created_ms=_ms(request.created_at),
            facts=JobFacts(run_id=request.run_id, filename=request.filename, label=request.label),
            fields=_outcome_fields(outcome),
        )
        return True
