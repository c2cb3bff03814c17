"""What the folder of a job says of it: all that the ledger needs to have it again. Reads only, and needs no Redis."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import ValidationError

from backend.archive import read_json
from backend.origins import sources_of
from backend.run_jobs import dataset_id_of, facts_of, labelled
from worker.contract.errors import CorruptRecordError
from worker.contract.events import EpochFinished, Event, RunFinished, RunStarted, parse_event
from worker.contract.journal import EventReader, epoch_fields, outcome_of
from worker.contract.keys import JobKind
from worker.contract.layout import Home, RunFolder
from worker.contract.lock import read_holder
from worker.contract.record import (
    JobFacts,
    LedgerState,
    Outcome,
    ScoreOutcome,
    read_outcome,
    read_score_outcome,
    read_spec,
)
from worker.contract.score_batches import BatchProgress, ScoreBatchRequest
from worker.contract.scores import ScoreRequest
from worker.contract.spec import RunSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recovered:
    """A job as its folder has it."""

    state: LedgerState
    created_ms: int
    facts: JobFacts
    token: int = 0
    attempt: int = 1
    fields: Mapping[str, str | None] = field(default_factory=dict)
    has_outcome: bool = False


def recover(home: Home, kind: JobKind, job_id: str) -> Recovered | None:
    """Returns a job by its folder, or None where the folder holds no spec of one.

    Raises:
        CorruptRecordError: when a file of it is damaged, or of a version that this one cannot read.
        OSError: when a file cannot be read.
    """
    return _READERS[kind](home, job_id)


def milliseconds(time: datetime) -> int:
    """Returns a time in ms since 1970."""
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
    return {"finished_ms": str(milliseconds(outcome.finished_at)), "error": error}


def _dataset(home: Home, dataset_id: str) -> Recovered | None:
    folder = home.dataset(dataset_id)
    record = read_spec(folder.spec)
    if record is None:
        return None
    outcome = read_outcome(folder.outcome)
    state, token = _state(outcome, folder.lock, folder.cancel)
    return Recovered(
        state=state,
        created_ms=milliseconds(record.created_at),
        facts=JobFacts(name=dataset_id, dataset_id=dataset_id, dataset_kind=str(record.spec.get("kind", ""))),
        token=token,
        fields={**_outcome_fields(outcome), "owner": record.owner},
    )


def _run(home: Home, run_id: str) -> Recovered | None:
    folder = home.run(run_id)
    record = read_spec(folder.spec)
    if record is None:
        return None
    try:
        spec = RunSpec.model_validate(record.spec)
    except ValidationError as error:
        raise CorruptRecordError(
            f"{folder.spec} holds a spec that this version cannot read: {error.errors()[0]['msg']}."
        ) from None
    reader = EventReader(folder.events)
    last = next(_newest_first(reader), None)
    outcome = read_outcome(folder.outcome)
    if outcome is None and isinstance(last, RunFinished):
        outcome = outcome_of(last)
    state, token = _state(outcome, folder.lock, folder.cancel)
    if outcome is not None and last is not None and outcome_of(last) is None:
        log.warning("%s: outcome.json says %s, its last event is %s", run_id, outcome.state, last.type)
    attempt = last.attempt if last is not None else 1
    if outcome is None and outcome_of(last) is not None:  # failed or cancelled, and resumed since
        attempt += 1
    facts = facts_of(spec, dataset_id_of(spec), _kind_of(home, dataset_id_of(spec)), sources_of(spec, folder))
    return Recovered(
        state=state,
        created_ms=milliseconds(record.created_at),
        facts=labelled(facts, folder),
        token=token,
        attempt=max(attempt, 1),
        fields={**_run_fields(folder, reader), **_outcome_fields(outcome), "owner": record.owner},
        has_outcome=outcome is not None,
    )


def _kind_of(home: Home, dataset_id: str) -> str:
    """Returns the kind of a dataset; nothing where its own folder does not say, which must not cost the run."""
    try:
        record = read_spec(home.dataset(dataset_id).spec)
    except (CorruptRecordError, OSError):
        return ""
    return "" if record is None else str(record.spec.get("kind", ""))


def _run_fields(folder: RunFolder, reader: EventReader) -> dict[str, str | None]:
    fields: dict[str, str | None] = {}
    for event in _newest_first(reader):
        if isinstance(event, RunFinished):
            fields["result"] = event.result.model_dump_json()
        if isinstance(event, EpochFinished):
            fields |= epoch_fields(event)
            break
    first = next(iter(reader.read(0, 1)), None)
    if isinstance(first, RunStarted) and first.time is not None:
        fields["started_ms"] = str(milliseconds(first.time))
    return fields


def _newest_first(reader: EventReader) -> Iterator[Event]:
    for seq in range(len(reader), 0, -1):
        for line in reader.read_lines(seq - 1, 1):
            try:
                yield parse_event(line)
            except ValueError as error:
                why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
                raise CorruptRecordError(f"{reader.path} cannot be read: event {seq} is damaged ({why}).") from None


def _score(home: Home, score_id: str) -> Recovered | None:
    folder = home.score(score_id)
    document = read_json(folder.request)
    if document is None:
        return None
    try:
        request = ScoreRequest.model_validate(document)
    except ValidationError as error:
        raise CorruptRecordError(f"{folder.request} cannot be read: {error.errors()[0]['msg']}.") from None
    outcome = read_score_outcome(folder.result)
    return Recovered(
        state="queued" if outcome is None else outcome.state,
        created_ms=milliseconds(request.created_at),
        facts=JobFacts(run_id=request.run_id, filename=request.filename, label=request.label),
        fields={**_outcome_fields(outcome), "owner": request.owner},
    )


def _batch(home: Home, batch_id: str) -> Recovered | None:
    folder = home.batch(batch_id)
    record = read_spec(folder.spec)
    if record is None:
        return None
    outcome = read_outcome(folder.outcome)
    state, token = _state(outcome, folder.lock, folder.cancel)
    try:
        asked = ScoreBatchRequest.model_validate(record.spec)
    except ValidationError as error:
        raise CorruptRecordError(f"{folder.spec} cannot be read: {error.errors()[0]['msg']}.") from None
    return Recovered(
        state=state,
        created_ms=milliseconds(record.created_at),
        facts=JobFacts(run_id=asked.run_id, filename=asked.path),
        token=token,
        fields={
            **_outcome_fields(outcome),
            "progress": _batch_progress(folder.table) if outcome else None,
            "owner": record.owner,
        },
    )


def _batch_progress(table: Path) -> str | None:
    """Returns the last progress of a batch that has ended, by its table, if there is one."""
    if not table.exists():
        return None
    try:
        errors = pq.read_table(table, columns=["error_code"])["error_code"]
    except (ValueError, KeyError) as error:  # pyarrow's errors are ValueErrors
        raise CorruptRecordError(f"{table} cannot be read: {error}.") from None
    failed = len(errors) - errors.null_count
    return BatchProgress(done=len(errors), total=len(errors), failed=failed, fraction=1.0).model_dump_json()


_READERS: dict[JobKind, Callable[[Home, str], Recovered | None]] = {
    "dataset": _dataset,
    "run": _run,
    "score": _score,
    "batch": _batch,
}
