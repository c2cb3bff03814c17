"""The earlier runs that a new run builds on: known, finished, on the same dataset; or the request is not valid.

This module must not read checkpoints: whether a model fits is for the worker to say.
"""

from __future__ import annotations

from backend.jobs import JobTools
from backend.presenting import run_spec
from backend.problems import invalid_field
from worker.contract.errors import InvalidRequestError
from worker.contract.spec import RunSpec


def require_sources(tools: JobTools, spec: RunSpec, dataset_id: str) -> None:
    """Passes when each earlier run that the spec names can be built on.

    Args:
        tools: ledger and folders.
        spec: of the new run.
        dataset_id: what the new run trains on.

    Raises:
        InvalidRequestError: codes `source-run-unknown`, `source-run-unfinished`, `source-run-other-dataset`,
            `source-run-unfit`, by the first fault; `errors` has the fault of each field.
    """
    named = spec.objective.source_runs()
    faults = [
        fault
        for name, run_id in named.items()
        if (fault := fault_of(tools, f"objective.{name}", run_id, dataset_id) or _other_use(tools, spec, name, run_id))
    ]
    if faults:
        fields = [field for fault in faults for field in fault.errors or []]
        raise InvalidRequestError(faults[0].detail, code=faults[0].code, errors=fields)


def _other_use(tools: JobTools, spec: RunSpec, name: str, run_id: str) -> InvalidRequestError | None:
    """Returns what is wrong with a known run that was trained on other modalities than the field asks for."""
    other = run_spec(tools.home, run_id).objective
    needed = spec.objective.source_fault(name, other)
    if needed is None:
        return None
    return invalid_field(
        f"objective.{name}",
        expected=f"a run on {needed}",
        got=f"{run_id}, which is on {' and '.join(other.modalities)} ({other.kind})",
        remedy="Name another run.",
        code="source-run-unfit",
    )


def fault_of(tools: JobTools, field: str, run_id: str, dataset_id: str | None) -> InvalidRequestError | None:
    """Returns what is wrong with one earlier run, or None.

    Args:
        tools: ledger and folders.
        field: that names it.
        run_id: the earlier run.
        dataset_id: on which it must have been trained; None: on any.
    """
    record = tools.ledger.get("run", run_id)
    if record is None:
        return invalid_field(
            field,
            expected="the id of a finished run",
            got=f"{run_id}, which is not known",
            remedy="GET /api/v1/runs?state=finished lists them; a deleted run cannot be built on.",
            code="source-run-unknown",
        )
    checkpoints = tools.home.run(run_id).checkpoints
    if record.state != "finished" or not checkpoints.is_dir() or not any(checkpoints.iterdir()):
        got = f"{run_id}, which is {record.state}" if record.state != "finished" else f"{run_id}, without a checkpoint"
        return invalid_field(
            field,
            expected="the id of a finished run",
            got=got,
            remedy="Wait for its end, or name another run.",
            code="source-run-unfinished",
        )
    if dataset_id is not None and record.facts.dataset_id != dataset_id:
        return invalid_field(
            field,
            expected=f"a run on the dataset {dataset_id}",
            got=f"{run_id}, which is on {record.facts.dataset_id}",
            remedy="Name a run on the same dataset; a dataset that was prepared otherwise is another one.",
            code="source-run-other-dataset",
        )
    return None
