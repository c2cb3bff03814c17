"""Several runs side by side."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from backend.comparison import ComparedRun, Comparison, curve, differing_settings, paired_test, spreads
from backend.dependencies import Services, Uses
from backend.presenting import shown_run
from backend.problems import documented, invalid_field
from backend.samples import Split
from worker.contract.errors import NotFoundError

router = APIRouter(tags=["runs"])
MAX_RUNS = 20


@router.get("/compare", summary="Several runs side by side", responses=documented(404))
def compare_runs(
    services: Uses,
    runs: Annotated[
        str,
        Query(
            min_length=1,
            max_length=65 * MAX_RUNS,
            pattern=r"^[a-z0-9][a-z0-9._-]{0,63}(,[a-z0-9][a-z0-9._-]{0,63}){0,19}$",
            description="Ids of 1 to 20 runs, with commas between them.",
        ),
    ],
    split: Annotated[Split, Query(description="Where predictions are compared pair by pair.")] = "validation",
) -> Comparison:
    """Curves, settings that differ, mean and spread over seeds, paired tests of the first run with each other one."""
    ids = list(dict.fromkeys(runs.split(",")))
    if len(ids) > MAX_RUNS:
        raise invalid_field("runs", expected="at most 20", got=str(len(ids)), remedy="Leave some out.")
    compared = [_compared(services, run_id) for run_id in ids]
    tests = []
    for other in compared[1:]:
        tables = [services.archive.newest_table(side.run.id, side.run.progress.epoch) for side in (compared[0], other)]
        if tables[0] is not None and tables[1] is not None:
            pair = (compared[0].run.id, tables[0]), (other.run.id, tables[1])
            tests.append(paired_test(services.tables, *pair, split))
    return Comparison(
        runs=compared,
        differing=differing_settings({side.run.id: side.run.spec.model_dump(mode="json") for side in compared}),
        spreads=spreads(compared),
        paired=[test for test in tests if test is not None],
    )


def _compared(services: Services, run_id: str) -> ComparedRun:
    record = services.tools.ledger.get("run", run_id)
    if record is None:
        raise NotFoundError(f"There is no run with the id {run_id!r}.", code="run-not-found")
    run = shown_run(services.home, record, services.watch, {})
    return ComparedRun(run=run, curve=curve(services.events.epochs(run_id)))
