"""What the ledger and the folders say of a job, as types."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError

from worker.contract.errors import CorruptRecordError, Problem
from worker.contract.events import Record, RunResult, SplitReport
from worker.contract.keys import JobKind
from worker.contract.layout import require_format, write_atomically
from worker.contract.resources import PrepareProgress, RunProgress
from worker.contract.score_batches import BatchProgress
from worker.contract.scores import ScoreResult

LedgerState = Literal["queued", "running", "cancelling", "cancelled", "finished", "failed"]
FinalState = Literal["finished", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset(("finished", "failed", "cancelled"))
R = TypeVar("R", bound=Record)

RECORD_FORMAT = 1
"""Of spec.json, outcome.json, result.json and labels.json."""
MAX_DEATHS = 5
"""Times that a job is tried again without a new epoch."""
REPORTS_KEPT = 256
"""Reports of each kind that stay parsed: lists and live pages ask for the same ones again and again."""


class JobFacts(Record):
    """What lists of jobs show and filter by; fixed when the job is created, but for name, tags and notes of runs."""

    name: str = ""
    tags: tuple[str, ...] = ()
    dataset_id: str = Field("", description="The dataset that a run needs.")
    dataset_kind: str = ""
    encoder: str = ""
    fusion: str = ""
    objective: str = ""
    epochs: int = 0
    sources: tuple[str, ...] = Field((), description="The runs that a run derives from.")
    subset_id: str = Field("", description="The subset that a run trains on.")
    run_id: str = Field("", description="The run that a score or a batch uses.")
    filename: str = Field("", description="Of an upload; of a batch the path.")
    label: str | None = None
    notes: str = Field("", description="What people wrote about a run.")


@lru_cache(maxsize=REPORTS_KEPT)
def _summary(text: str) -> SplitReport:
    return SplitReport.model_validate_json(text)


@lru_cache(maxsize=REPORTS_KEPT)
def _result(text: str) -> RunResult:
    return RunResult.model_validate_json(text)


@dataclass(frozen=True)
class JobRecord:
    """A job as the ledger has it."""

    kind: JobKind
    id: str
    state: LedgerState
    token: int
    beat: int
    attempt: int
    deaths: int
    created_ms: int
    facts: JobFacts
    epoch: int = 0
    """Finished epochs of a run."""
    started_ms: int | None = None
    finished_ms: int | None = None
    holder: str | None = None
    owner: str = ""
    """Who asked for it; empty where that is not known."""
    waiting_for: str | None = None
    reason: str | None = None
    """Why the job was last queued again."""
    progress: str | None = None
    summary: str | None = None
    result: str | None = None
    error: Problem | None = None

    @classmethod
    def parse(cls, kind: JobKind, fields: dict[str, str]) -> Self:
        """Returns the job that a ledger hash describes.

        Raises:
            CorruptRecordError: when the hash is none of the ledger's.
        """
        try:
            return cls(
                kind=kind,
                id=fields["id"],
                state=_state(fields["state"]),
                token=int(fields["token"]),
                beat=int(fields["beat"]),
                attempt=int(fields["attempt"]),
                deaths=int(fields["deaths"]),
                created_ms=int(fields["created_ms"]),
                facts=JobFacts.model_validate_json(fields.get("facts", "{}")),
                epoch=int(fields.get("epoch", "0")),
                started_ms=_milliseconds(fields.get("started_ms")),
                finished_ms=_milliseconds(fields.get("finished_ms")),
                holder=fields.get("holder"),
                owner=fields.get("owner", ""),
                waiting_for=fields.get("waiting_for"),
                reason=fields.get("reason"),
                progress=fields.get("progress"),
                summary=fields.get("summary"),
                result=fields.get("result"),
                error=Problem.model_validate_json(fields["error"]) if "error" in fields else None,
            )
        except (KeyError, ValueError) as error:
            raise CorruptRecordError(f"The ledger entry of a {kind} cannot be read: {error!r}.") from error

    @property
    def ended(self) -> bool:
        """Whether the job is finished, failed or cancelled."""
        return self.state in ENDED

    @property
    def created_at(self) -> datetime:
        """When the job was accepted."""
        return at(self.created_ms)

    @property
    def started_at(self) -> datetime | None:
        """When the job was first claimed."""
        return None if self.started_ms is None else at(self.started_ms)

    @property
    def finished_at(self) -> datetime | None:
        """When the job ended."""
        return None if self.finished_ms is None else at(self.finished_ms)

    def run_progress(self) -> RunProgress | None:
        """Returns the progress of a run, if it has any yet."""
        return None if self.progress is None else RunProgress.model_validate_json(self.progress)

    def prepare_progress(self) -> PrepareProgress | None:
        """Returns the progress of a preparation, if it has any yet."""
        return None if self.progress is None else PrepareProgress.model_validate_json(self.progress)

    def batch_progress(self) -> BatchProgress | None:
        """Returns the progress of a batch, if it has any yet."""
        return None if self.progress is None else BatchProgress.model_validate_json(self.progress)

    def run_summary(self) -> SplitReport | None:
        """Returns the validation report of the newest epoch, if there is one."""
        return None if self.summary is None else _summary(self.summary)

    def run_result(self) -> RunResult | None:
        """Returns the result of a finished run."""
        return None if self.result is None else _result(self.result)


def at(milliseconds: int) -> datetime:
    """Returns a time in ms since 1970 as a datetime."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _state(text: str) -> LedgerState:
    match text:
        case "queued" | "running" | "cancelling" | "cancelled" | "finished" | "failed":
            return text
    raise ValueError(f"no state of a job: {text!r}")


def _milliseconds(text: str | None) -> int | None:
    return None if text is None else int(text)


@dataclass(frozen=True)
class Claim:
    """A job that is this holder's until its token is beaten."""

    kind: JobKind
    id: str
    holder: str
    token: int
    attempt: int
    deaths: int
    started_ms: int
    reason: str = ""
    """Why the job was queued again before this claim; empty at the first."""

    @property
    def exhausted(self) -> bool:
        """Whether the job died too often without a new epoch: to be failed, not tried again."""
        return self.deaths > MAX_DEATHS


class Refusal(StrEnum):
    """Why a claim was refused."""

    UNKNOWN = "unknown"
    TAKEN = "taken"
    ENDED = "ended"
    WAITING = "waiting"


class Renewal(StrEnum):
    """What a renewed beat was answered with."""

    OK = "ok"
    CANCEL = "cancel"
    """Still the holder's, and someone asked to cancel."""
    LOST = "lost"
    UNKNOWN = "unknown"
    """Redis was emptied: go on; the backend will bring the job back from its folder."""


class Change(StrEnum):
    """What became of a change."""

    OK = "ok"
    REFUSED = "refused"
    """The job is in a state in which this cannot be done."""
    LOST = "lost"
    """The token is stale."""
    UNKNOWN = "unknown"
    EXISTS = "exists"
    QUEUE_FULL = "queue-full"
    """As many wait as may."""
    SHARE_FULL = "share-full"
    """As many of this owner wait as may."""
    TOO_MANY = "too-many"
    """As many are kept as may."""


@dataclass(frozen=True)
class Places:
    """How many jobs of a kind there may be, the new one included; None: any number."""

    queued: int | None = None
    queued_of_owner: int | None = None
    kept: int | None = None


class Appended(StrEnum):
    """What became of an entry for a run's stream."""

    OK = "ok"
    DOUBLE = "double"
    """The stream has this entry already."""
    BEHIND = "behind"
    """The stream lacks entries before this one."""
    LOST = "lost"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Moved:
    """Where a cancel or a reap left a job, and the token with which its record can be closed."""

    state: LedgerState
    token: int


class Outcome(Record):
    """How a job ended: outcome.json, written before the ledger learns it."""

    format: int = 1
    state: FinalState
    finished_at: datetime
    error: Problem | None = None

    @classmethod
    def now(cls, state: FinalState, error: Problem | None = None) -> Self:
        """Returns an outcome of this moment."""
        return cls(state=state, finished_at=datetime.now(UTC), error=error)

    def write(self, path: Path) -> None:
        """Writes outcome.json durably."""
        write_atomically(path, self.model_dump_json(indent=1).encode())


class ScoreOutcome(Record):
    """How a score ended: result.json, written before the ledger learns it."""

    format: int = 1
    state: FinalState
    finished_at: datetime
    epoch: int | None = None
    result: ScoreResult | None = None
    error: Problem | None = None

    def write(self, path: Path) -> None:
        """Writes result.json durably."""
        write_atomically(path, self.model_dump_json(indent=1).encode())


def read_score_outcome(path: Path) -> ScoreOutcome | None:
    """Returns how a score ended, or None while it has not.

    Raises:
        CorruptRecordError: when the file is damaged.
    """
    return _read(path, ScoreOutcome)


def read_outcome(path: Path) -> Outcome | None:
    """Returns how a job ended, or None while it has not.

    Raises:
        CorruptRecordError: when the file is damaged.
    """
    return _read(path, Outcome)


class RunLabels(Record):
    """labels.json of a run: what a person changed after the launch, written before the ledger learns it."""

    format: int = 1
    name: str
    tags: tuple[str, ...]
    notes: str

    def write(self, path: Path) -> None:
        """Writes labels.json durably."""
        write_atomically(path, self.model_dump_json(indent=1).encode())

    def on(self, facts: JobFacts) -> JobFacts:
        """Returns a run's facts with these labels."""
        return facts.model_copy(update={"name": self.name, "tags": self.tags, "notes": self.notes})


def read_labels(path: Path) -> RunLabels | None:
    """Returns the labels of a run, or None while nobody changed them.

    Raises:
        CorruptRecordError: when the file is damaged.
    """
    return _read(path, RunLabels)


class SpecRecord(Record):
    """spec.json of a run or a dataset: what was asked for, as it was accepted."""

    format: int = 1
    id: str
    created_at: datetime
    spec: dict[str, Any]
    owner: str = Field("", description="Who asked for it, as the audit log names them; empty: not known.")

    def write(self, path: Path) -> None:
        """Writes spec.json durably."""
        write_atomically(path, self.model_dump_json(indent=1).encode())


def read_spec(path: Path) -> SpecRecord | None:
    """Returns what was asked for, or None when there is no such file.

    Raises:
        CorruptRecordError: when the file is damaged.
    """
    return _read(path, SpecRecord)


def _read(path: Path, model: type[R]) -> R | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        require_format(path, json.loads(content), RECORD_FORMAT)
        return model.model_validate_json(content)
    except (ValueError, RecursionError) as error:  # JSON may be nested as deep as its author likes
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise CorruptRecordError(f"{path} cannot be read: {why}.") from error
