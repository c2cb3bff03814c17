"""Several runs side by side, and two of them sample by sample."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from backend import pairing
from backend.comparison import ComparedRun, Comparison, differing_settings, report_of, spreads
from backend.dependencies import CursorText, Limit, Services, Uses
from backend.paging import Sort, decode_cursor, encode_cursor, fingerprint
from backend.pairing import Change, ChangedPage, PairedTests, Side
from backend.presenting import shown_run
from backend.problems import documented
from backend.samples import Split
from worker.contract.errors import ConflictError, NotFoundError
from worker.contract.record import JobRecord

router = APIRouter(prefix="/compare", tags=["runs"])
MAX_RUNS = 50
_ONE = r"[a-z0-9][a-z0-9._-]{0,63}"

RunIds = Annotated[
    str,
    Query(
        min_length=1,
        max_length=65 * MAX_RUNS,
        pattern=rf"^{_ONE}(,{_ONE}){{0,{MAX_RUNS - 1}}}$",
        description=f"Ids of 1 to {MAX_RUNS} runs, with commas between them.",
    ),
]
OneRun = Annotated[str, Query(pattern=rf"^{_ONE}$", description="A run's id.")]
Epoch = Annotated[
    int | None, Query(ge=1, le=10_000, description="Of every run; empty: the last that all with finished epochs have.")
]
InSplit = Annotated[Split, Query(description="Where the runs are compared.")]


@router.get("", summary="Several runs side by side")
def compare_runs(services: Uses, runs: RunIds, split: InSplit = "validation", epoch: Epoch = None) -> Comparison:
    """Curves, one epoch of each, settings that differ, mean and spread over seeds. Deleted runs are named."""
    records, missing = _records(services, runs)
    chosen = _shared(records) if epoch is None else epoch
    compared = [_compared(services, record, split, chosen) for record in records]
    return Comparison(
        split=split,
        epoch=chosen,
        newest_shared=_shared(records),
        newest=max((record.epoch for record in records), default=0) or None,
        runs=compared,
        missing=missing,
        differing=differing_settings({side.run.id: side.run.spec.model_dump(mode="json") for side in compared}),
        spreads=spreads(compared),
    )


@router.get("/pairs", summary="McNemar's tests of a run against others", responses=documented(404))
def compare_pairs(services: Uses, runs: RunIds, split: InSplit = "validation", epoch: Epoch = None) -> PairedTests:
    """The first run against each other one, fused, audio and visual; what cannot be paired says why."""
    records, missing = _records(services, runs)
    if missing and missing[0] == runs.split(",")[0]:
        raise NotFoundError(f"There is no run with the id {missing[0]!r}.", code="run-not-found")
    chosen = _shared(records) if epoch is None else epoch
    first, *others = [_side(services, record, chosen) for record in records]
    return pairing.paired_tests(services.tables, first, others, split, chosen)


@router.get("/changes", summary="Samples that two runs judge differently", responses=documented(404, 409))
def compare_changes(
    services: Uses,
    first: OneRun,
    second: OneRun,
    split: InSplit = "validation",
    epoch: Epoch = None,
    change: Annotated[Change, Query(description="What changed: the group, or being right by a prediction.")] = "any",
    limit: Limit = 50,
    cursor: CursorText = None,
) -> ChangedPage:
    """Samples by page, widest change of gap first. The cursor pins runs, split, change and epoch."""
    records = [services.tools.record("run", run_id) for run_id in (first, second)]
    pinned = fingerprint({"first": first, "second": second, "split": split, "epoch": epoch, "change": change})
    after = decode_cursor(cursor, pinned) if cursor else None
    chosen = (after.epoch if after is not None else epoch) or _shared(records) or 1
    sides = [_side(services, record, chosen) for record in records]
    reason = pairing.obstacle(sides[0], sides[1], chosen)
    if reason is not None or sides[0].table is None or sides[1].table is None:
        raise ConflictError(f"These runs cannot be paired. {reason}", code="runs-not-comparable")
    source = pairing.changed_source(sides[0].table, sides[1].table, split)
    where = pairing.changed_where(change)
    rows, following = services.tables.page(source, where, Sort("gap_change", True), after, limit)
    if following is not None:
        following = type(following)(following.key, following.id, chosen)
    return ChangedPage(
        first=first,
        second=second,
        split=split,
        epoch=chosen,
        total=services.tables.count(source, where),
        items=[pairing.changed_sample(row) for row in rows],
        next=encode_cursor(following, pinned) if following else None,
    )


def _records(services: Services, runs: str) -> tuple[list[JobRecord], list[str]]:
    ids = list(dict.fromkeys(runs.split(",")))
    found = {run_id: services.tools.ledger.get("run", run_id) for run_id in ids}
    return [record for record in found.values() if record is not None], [one for one in ids if found[one] is None]


def _shared(records: list[JobRecord]) -> int | None:
    return min((record.epoch for record in records if record.epoch), default=None)


def _compared(services: Services, record: JobRecord, split: Split, epoch: int | None) -> ComparedRun:
    run = shown_run(services.home, record, services.watch, {})
    event = services.events.epoch(run.id, epoch) if epoch is not None and epoch <= record.epoch else None
    return ComparedRun(
        run=run,
        curve=services.curves.of(run.id, record.epoch, split, services.events.epochs),
        at=report_of(event, split) if event is not None else None,
    )


def _side(services: Services, record: JobRecord, epoch: int | None) -> Side:
    run = shown_run(services.home, record, services.watch, {})
    resolved = run.resolved_spec
    table = services.home.run(run.id).sample_table(epoch or 0)
    return Side(
        run_id=run.id,
        dataset=resolved.store_digest if resolved else record.facts.dataset_id,
        dataset_id=record.facts.dataset_id,
        protocol=run.spec.dataset.protocol,
        newest=record.epoch,
        table=table if epoch and epoch <= record.epoch and table.exists() else None,
    )
