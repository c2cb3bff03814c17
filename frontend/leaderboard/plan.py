"""What a leaderboard needs: which methods on which seeds, with the specs of their runs, and which runs are the same.

This module must not talk to the API.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.contract.errors import InvalidRequestError
from worker.contract.resources import Run
from worker.contract.spec import DatasetReference, RunSpec

BASELINE = "joint"
SOURCE_MARK = "x-source"
"""In the schema of a method's field: the method whose finished run of the same seed the field takes the id of."""
_FOR_PEOPLE = frozenset({"name", "tags"})

Methods = dict[str, dict[str, str]]
"""Method -> field of its spec -> the method whose run it takes."""


@dataclass
class Cell:
    """One method on one seed, and the run that stands for it.

    Attributes:
        method: kind of the objective.
        seed: of the run.
        sources: field of the objective -> method whose run of this seed it takes.
        run: as last seen; None before there is one.
        reused: the run was there before.
        failure: why there is no finished run, once that is certain.
    """

    method: str
    seed: int
    sources: Mapping[str, str]
    run: Run | None = None
    reused: bool = False
    failure: str | None = None

    @property
    def finished(self) -> bool:
        """Whether there is a finished run."""
        return self.failure is None and self.run is not None and self.run.state == "finished"

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come."""
        return self.finished or self.failure is not None

    @property
    def in_flight(self) -> bool:
        """Whether a run was launched that has not ended."""
        return self.run is not None and not self.ended


def sources_of(schema: Mapping[str, Any]) -> dict[str, str]:
    """Returns the fields of an objective's JSON schema that name an earlier run -> that run's method."""
    fields: Mapping[str, Any] = schema.get("properties", {})
    return {name: str(field[SOURCE_MARK]) for name, field in fields.items() if SOURCE_MARK in field}


def methods_of(objectives: Mapping[str, Mapping[str, Any]], wanted: Sequence[str] = ()) -> Methods:
    """Returns the methods of a leaderboard in the catalog's order: those wanted, their sources and the baseline.

    Args:
        objectives: kind -> entry of the catalog.
        wanted: kinds; none for all.

    Raises:
        InvalidRequestError: a kind is not in the catalog.
    """
    pending, found = [BASELINE, *(wanted or objectives)], Methods()
    while pending:
        method = pending.pop()
        if method not in objectives:
            raise InvalidRequestError(
                f"--methods expects methods of the catalog, got {method!r}. There are: {', '.join(objectives)}.",
                code="method-unknown",
            )
        if method not in found:
            found[method] = sources_of(objectives[method]["schema"])
            pending += found[method].values()
    return {method: found[method] for method in objectives if method in found}


def cells_of(methods: Methods, seeds: Sequence[int]) -> list[Cell]:
    """Returns the cells, seed by seed, methods without sources first."""
    order = sorted(methods, key=lambda method: bool(methods[method]))
    return [Cell(method, seed, methods[method]) for seed in seeds for method in order]


def objective_of(cell: Cell, cells: Sequence[Cell]) -> dict[str, str] | None:
    """Returns a cell's objective with the ids of the runs that it needs; None while one of them has not finished."""
    fields = {"kind": cell.method}
    for name, method in cell.sources.items():
        source = _source(cells, method, cell.seed)
        if not source.finished or source.run is None:
            return None
        fields[name] = source.run.id
    return fields


def missing_source(cell: Cell, cells: Sequence[Cell]) -> str | None:
    """Returns why a cell can never begin: a run that it needs came to nothing; None where it can."""
    for method in cell.sources.values():
        if _source(cells, method, cell.seed).failure is not None:
            return f"it needs {method} of seed {cell.seed}, which has no finished run"
    return None


def _source(cells: Sequence[Cell], method: str, seed: int) -> Cell:
    return next(one for one in cells if (one.method, one.seed) == (method, seed))


def dataset_id_of(spec: RunSpec) -> str:
    """Returns the id under which the dataset of a run is registered."""
    return spec.dataset.id if isinstance(spec.dataset, DatasetReference) else spec.dataset.dataset_id()


def identity(spec: RunSpec) -> str:
    """Returns a text that is equal for runs that compute the same, whatever they are called.

    Defaults are filled in, and a dataset counts the same by its id and by its spec.
    """
    fields = spec.model_dump(mode="json", exclude={*_FOR_PEOPLE, "dataset"})
    fields["dataset"] = [dataset_id_of(spec), spec.dataset.protocol]
    return json.dumps(fields, sort_keys=True)


def reusable(runs: Sequence[Run]) -> dict[str, Run]:
    """Returns identity -> the run that stands for it: the newest finished one, else the newest that is under way."""
    found: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: run.created_at):
        if run.state not in ("finished", "queued", "running", "lost"):
            continue
        key = identity(run.spec)
        if run.state == "finished" or key not in found or found[key].state != "finished":
            found[key] = run
    return found
