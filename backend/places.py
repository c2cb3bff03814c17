"""Places in the queues: how many jobs may wait and be kept, of everybody and of one user."""

from __future__ import annotations

from typing import Final

from worker.contract.errors import GapscopeError, HomeFullError, TooManyError
from worker.contract.keys import JobKind
from worker.contract.ledger import Ledger
from worker.contract.record import Change, Places
from worker.contract.settings import Settings

LOCAL_USER: Final = "local"
"""Whoever comes where no keys are asked for: one user, to whom all places belong."""
QUEUE_WAIT_S: Final = 30
"""When to ask again for a place in a queue."""
_WORDS: Final[dict[JobKind, str]] = {"run": "runs", "dataset": "preparations", "score": "scores", "batch": "batches"}


def share_of(settings: Settings, owner: str, limit: int) -> int:
    """Returns how many of the places that there are one user may take, at least one."""
    return limit if owner == LOCAL_USER else max(1, int(settings.user_share * limit))


def places_for(settings: Settings, kind: JobKind, owner: str) -> Places:
    """Returns how many jobs of a kind there may be once a user has one more."""
    queued = settings.max_queued_runs if kind == "run" else settings.max_queued_jobs
    kept = settings.max_runs if kind == "run" else None
    return Places(queued=queued, queued_of_owner=share_of(settings, owner, queued), kept=kept)


def require_place(ledger: Ledger, settings: Settings, kind: JobKind, owner: str) -> None:
    """Passes when there is a place for one more job; takes none: `Ledger.create` does, and has the last word.

    Raises:
        TooManyError: code `queue-full`, or `share-full` when only this user's places are taken.
        HomeFullError: code `too-many-runs`.
    """
    places = places_for(settings, kind, owner)
    if places.kept is not None and ledger.count(kind) >= places.kept:
        raise no_place(Change.TOO_MANY, kind, places)
    queued = [record for record in ledger.active(kind) if record.state == "queued"]
    if places.queued is not None and len(queued) >= places.queued:
        raise no_place(Change.QUEUE_FULL, kind, places)
    if places.queued_of_owner is not None and sum(one.owner == owner for one in queued) >= places.queued_of_owner:
        raise no_place(Change.SHARE_FULL, kind, places)


def no_place(change: Change, kind: JobKind, places: Places) -> GapscopeError:
    """Returns the error that says which places are taken."""
    words = _WORDS[kind]
    setting = "GAPSCOPE_MAX_QUEUED_RUNS" if kind == "run" else "GAPSCOPE_MAX_QUEUED_JOBS"
    if change is Change.TOO_MANY:
        return HomeFullError(
            f"{places.kept:,} {words} are kept, and no more may be. Delete some, or raise GAPSCOPE_MAX_RUNS.",
            code=f"too-many-{words}",
        )
    if change is Change.SHARE_FULL:
        return TooManyError(
            f"{places.queued_of_owner:,} {words} of yours wait already, and one user may have no more of "
            f"{places.queued:,} places. Wait until some have begun, or cancel some; GAPSCOPE_USER_SHARE sets it.",
            code="share-full",
            retry_after_s=QUEUE_WAIT_S,
        )
    return TooManyError(
        f"{places.queued:,} {words} wait already, and no more may. Wait until some have begun, or cancel some; "
        f"{setting} sets how many.",
        code="queue-full",
        retry_after_s=QUEUE_WAIT_S,
    )


NO_PLACE: Final = frozenset({Change.QUEUE_FULL, Change.SHARE_FULL, Change.TOO_MANY})
