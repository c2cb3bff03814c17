"""What the ledger and the folders say of a job, as types."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError

from worker.contract.errors import CorruptRecordError, Problem
from worker.contract.events import Record, RunResult, SplitReport
from worker.contract.keys import JobKind
from worker.contract.layout import write_atomically
from worker.contract.resources import PrepareProgress, RunProgress
from worker.contract.scores import ScoreResult

LedgerState = Literal["queued", "running", "cancelling", "cancelled", "finished", "failed"]
FinalState = Literal["finished", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset(("finished", "failed", "cancelled"))
R = TypeVar("R", bound=Record)

MAX_DEATHS = 5
"""Times that a job is tried again without a new epoch."""


class JobFacts(Record):
    """What lists of jobs show and filter by; fixed when the job is created."""

    name: str = ""
    tags: tuple[str, ...] = ()
    dataset_id: str = Field("", description="The dataset that a run needs.")
    dataset_kind: str = ""
    encoder: str = ""
    fusion: str = ""
    objective: str = ""
    epochs: int = 0
    run_id: str = Field("", description="The run that a score uses.")
    filename: str = ""
    label: str | None = None


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

    def run_summary(self) -> SplitReport | None:
        """Returns the validation report of the newest epoch, if there is one."""
        return None if self.summary is None else SplitReport.model_validate_json(self.summary)

    def run_result(self) -> RunResult | None:
        """Returns the result of a finished run."""
        return None if self.result is None else RunResult.model_validate_json(self.result)


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


class SpecRecord(Record):
    """spec.json of a run or a dataset: what was asked for, as it was accepted."""

    format: int = 1
    id: str
    created_at: datetime
    spec: dict[str, Any]

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
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise CorruptRecordError(f"{path} cannot be read: {error.errors()[0]['msg']}.") from error
