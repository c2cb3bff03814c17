"""Runs: launch, list, read, label, cancel, resume, clone, delete, restore, log."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from backend.dependencies import CursorText, Limit, Owner, RunId, Services, Uses
from backend.disk import require_space
from backend.estimating import estimate_run, require_room
from backend.labels import RunChanges
from backend.live import IndexEntry, queue_positions
from backend.paging import Sort, decode_cursor, encode_cursor, fingerprint
from backend.presenting import readable, shown_run
from backend.problems import documented
from backend.run_jobs import dataset_id_of, parse_run, require_folder
from worker.contract.record import JobRecord
from worker.contract.resources import FacetCount, Run, RunEstimate, RunFacets
from worker.contract.spec import PRESETS, RunSpec
from worker.contract.spec.run import DatasetChoice, TagName

router = APIRouter(prefix="/runs", tags=["runs"])
LOCATION = "/api/v1/runs/"
MAX_FACETS = 200
"""Values of each kind."""
EXAMPLE: dict[str, Any] = {"preset": "demo", "name": "first try", "epochs": 5}

RunSort = Literal[
    "created_at", "started_at", "finished_at", "name", "state", "dataset", "objective", "epoch",
    "accuracy_fused", "accuracy_audio", "accuracy_visual", "mean_abs_gap",
    "-created_at", "-started_at", "-finished_at", "-name", "-state", "-dataset", "-objective", "-epoch",
    "-accuracy_fused", "-accuracy_audio", "-accuracy_visual", "-mean_abs_gap",
]  # fmt: skip
StateName = Literal["queued", "running", "cancelling", "cancelled", "finished", "failed", "lost"]


class RunRequest(RunSpec):
    """A run's spec, or a preset whose top-level keys are replaced whole by those given beside it."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["preset"]}, {"required": ["dataset"]}], "examples": [EXAMPLE]}
    )

    preset: str = Field(
        cast("Any", None),
        description="A preset of the catalog to start from.",
        json_schema_extra={"enum": [preset.id for preset in PRESETS]},
    )
    dataset: DatasetChoice = Field(
        cast("Any", None), description="A registered dataset by id, or a dataset spec (registered first)."
    )


class RunPage(BaseModel):
    """A page of runs."""

    items: list[Run]
    next: str | None = Field(None, description="Cursor of the next page; null at the end.")


class Deleted(BaseModel):
    """What deleting gave or would give."""

    reclaimable_bytes: int = Field(description="In the trash, freed when it is emptied.")
    freed_bytes: int


def _shown(services: Services, record: JobRecord) -> Run:
    queued = record.state == "queued"
    positions = queue_positions(services.tools.ledger.active("run")) if queued else {}
    return shown_run(services.home, record, services.watch, positions)


def _accepted(services: Services, run_id: str, response: Response) -> Run:
    response.headers["Location"] = LOCATION + run_id
    return _shown(services, services.tools.record("run", run_id))


async def run_fields(body: Annotated[RunRequest, Body()], request: Request) -> dict[str, Any]:
    """Returns the fields as they came: RunRequest documents them, and would take true for 1 where a spec does not."""
    del body
    return dict(await request.json())


@router.post("", status_code=202, summary="Launch a run", responses=documented(409, 413, 429, 507))
def create_run(
    fields: Annotated[dict[str, Any], Depends(run_fields)], services: Uses, owner: Owner, response: Response
) -> Run:
    """Accepts a run and queues it; a dataset spec is registered and prepared first."""
    spec = parse_run(fields)
    require_space(services.settings)
    require_room(estimate_run(services.settings, services.stores, spec, dataset_id_of(spec)))
    return _accepted(services, services.runs.create(spec, owner=owner), response)


@router.post("/estimate", summary="Whether a run could be launched, and what it would take", responses=documented(413))
def estimate(fields: Annotated[dict[str, Any], Depends(run_fields)], services: Uses) -> RunEstimate:
    """Checks a run as its launch would, and tells its time, memory and disk space; launches nothing."""
    spec = parse_run(fields)
    services.runs.check(spec)
    earlier = services.live.index("run")
    workers = services.live.workers()
    return estimate_run(services.settings, services.stores, spec, dataset_id_of(spec), earlier, workers)


class RunFilter(BaseModel):
    """Which runs, in which order."""

    model_config = ConfigDict(extra="forbid")

    state: StateName | None = Field(None, description="Only runs in this state.")
    dataset: str | None = Field(
        None, min_length=1, max_length=64, description="Only runs on this dataset (id or kind)."
    )
    objective: str | None = Field(None, min_length=1, max_length=64, description="Only runs with this method.")
    tag: TagName | None = Field(None, description="Only runs with this tag.")
    text: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Only runs whose name, id, tags, notes, dataset or method contain each of these words.",
    )
    series: bool = Field(False, description="Give each run its thinned curves.")
    sort: RunSort = Field("-created_at", description="What to sort by; a leading - for descending.")
    limit: int = Field(50, ge=1, le=500, description="Items of a page.")
    cursor: str | None = Field(None, min_length=1, max_length=1_024, description="`next` of the page before.")

    @property
    def passes_all(self) -> bool:
        """Whether nothing is filtered out."""
        return all(one is None for one in (self.state, self.dataset, self.objective, self.tag, self.text))

    def wants(self, entry: IndexEntry, *, lost: set[str]) -> bool:
        """Returns whether a run passes the filter."""
        facts = entry.facts
        state = "lost" if entry.id in lost else entry.state
        return (
            (self.state is None or state == self.state)
            and (self.dataset is None or self.dataset in (facts.dataset_id, facts.dataset_kind))
            and (self.objective is None or facts.objective == self.objective)
            and (self.tag is None or self.tag in facts.tags)
            and (self.text is None or _has_words(entry, self.text))
        )


def _has_words(entry: IndexEntry, text: str) -> bool:
    facts = entry.facts
    parts = (entry.id, facts.name, facts.notes, facts.dataset_id, facts.dataset_kind, facts.objective, *facts.tags)
    said = "\n".join(parts).casefold()
    return all(word in said for word in text.casefold().split())


@router.get("", summary="Runs by page")
def list_runs(wanted: Annotated[RunFilter, Query()], services: Uses) -> RunPage:
    """Runs that pass the filter, a page at a time."""
    pinned = fingerprint(wanted.model_dump(exclude={"cursor", "limit", "series"}))
    after = decode_cursor(wanted.cursor, pinned) if wanted.cursor else None
    active = services.tools.ledger.active("run")
    sort, live = Sort.parse(wanted.sort), services.live
    if wanted.passes_all and sort.field == "created_at":
        records, cursor = live.page_by_age("run", None, descending=sort.descending, after=after, limit=wanted.limit)
    else:
        lost = {record.id for record in active if services.watch.is_lost(record)}
        records, cursor = live.page("run", lambda entry: wanted.wants(entry, lost=lost), sort, after, wanted.limit)
    positions = queue_positions(active)
    series = services.series.of(records) if wanted.series else {}

    def shown(record: JobRecord) -> Run:
        run = shown_run(services.home, record, services.watch, positions)
        return run.model_copy(update={"series": series.get(record.id)})

    return RunPage(
        items=readable(records, shown),
        next=encode_cursor(cursor, pinned) if cursor else None,
    )


@router.get("/facets", summary="What runs can be filtered by")
def read_facets(services: Uses) -> RunFacets:
    """The states, datasets, methods and tags that runs have, and how many have each."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in RunFacets.model_fields}
    for entry in services.live.index("run"):
        counts["states"][entry.state] += 1
        counts["datasets"][entry.facts.dataset_id] += 1
        counts["objectives"][entry.facts.objective] += 1
        counts["tags"].update(entry.facts.tags)
    return RunFacets(
        **{
            name: [FacetCount(value=value, num_runs=number) for value, number in count.most_common(MAX_FACETS)]
            for name, count in counts.items()
        }
    )


@router.get("/{run_id}", summary="One run", responses=documented(404))
def read_run(run_id: RunId, services: Uses) -> Run:
    """A run with its progress, newest summary and result, and the runs that build on it."""
    run = _shown(services, services.tools.record("run", run_id))
    return run.model_copy(update={"derived_runs": services.lineage.derived(run_id)})


@router.patch("/{run_id}", summary="Change name, tags or notes", responses=documented(404, 413))
def label_run(run_id: RunId, changes: RunChanges, services: Uses) -> Run:
    """Changes what people call a run and write about it; its spec stays as it was launched."""
    services.labels.change(run_id, changes)
    return _shown(services, services.tools.record("run", run_id))


@router.post("/{run_id}/restore", summary="Bring a deleted run back", responses=documented(404))
def restore_run(run_id: RunId, services: Uses) -> Run:
    """Takes a deleted run out of the trash, as it was; nothing happens to one that is there."""
    services.trash.restore(run_id)
    return _shown(services, services.tools.record("run", run_id))


@router.post("/{run_id}/cancel", status_code=202, summary="Cancel a run", responses=documented(404, 409))
def cancel_run(run_id: RunId, services: Uses, response: Response) -> Run:
    """Asks a run to end. What its finished epochs gave is kept."""
    services.runs.cancel(run_id)
    return _accepted(services, run_id, response)


@router.post("/{run_id}/resume", status_code=202, summary="Resume a run", responses=documented(404, 409, 429, 507))
def resume_run(run_id: RunId, services: Uses, owner: Owner, response: Response) -> Run:
    """Queues a failed or cancelled run again; it goes on after its last finished epoch."""
    services.runs.resume(run_id, owner=owner)
    return _accepted(services, run_id, response)


@router.post("/{run_id}/clone", status_code=202, summary="Clone a run", responses=documented(404, 409, 429, 507))
def clone_run(run_id: RunId, services: Uses, owner: Owner, response: Response) -> Run:
    """Launches a new run of the same spec and resolved spec."""
    return _accepted(services, services.runs.clone(run_id, owner=owner), response)


@router.delete("/{run_id}", summary="Delete a run", responses=documented(404, 409))
def delete_run(
    run_id: RunId,
    services: Uses,
    purge: Annotated[bool, Query(description="Free the space at once; the run cannot be brought back.")] = False,
) -> Deleted:
    """Moves an ended run to the trash for a day, or frees its space at once."""
    reclaimable, freed = services.runs.delete(run_id, purge=purge)
    services.series.forget(run_id)
    return Deleted(reclaimable_bytes=reclaimable, freed_bytes=freed)


@router.get(
    "/{run_id}/log",
    summary="The end of a run's log",
    response_class=PlainTextResponse,
    responses=documented(404),
)
def read_log(
    run_id: RunId,
    services: Uses,
    tail: Annotated[int, Query(ge=1, le=10_000, description="Lines from the end.")] = 200,
) -> PlainTextResponse:
    """Standard output and error of the run's processes."""
    require_folder(services.tools, run_id)
    return PlainTextResponse(services.archive.log_tail(run_id, tail))


__all__ = ["CursorText", "Limit", "router"]
