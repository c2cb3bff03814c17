"""Datasets: register, list, read, cancel, what was skipped, clips and their media."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from backend.dataset_check import check_dataset
from backend.dependencies import DatasetId, Owner, Services, Uses
from backend.live import IndexEntry
from backend.paging import Sort, decode_cursor, encode_cursor, fingerprint
from backend.presenting import readable, shown_dataset
from backend.problems import documented, invalid
from backend.uses import DatasetUses
from worker.contract.resources import Dataset, DatasetCheck, DatasetState
from worker.contract.spec import DATASET_ID_PATTERN
from worker.contract.spec.datasets import DatasetSpec
from worker.contract.spec.registry import DATASETS, OneOf

router = APIRouter(prefix="/datasets", tags=["datasets"])
LOCATION = "/api/v1/datasets/"

DatasetSort = Literal["created_at", "name", "state", "-created_at", "-name", "-state"]
_SHOWN_AS = {"running": "preparing", "cancelling": "preparing", "finished": "ready"}


def _request_of(spec: type[DatasetSpec]) -> type[DatasetSpec]:
    chosen = Field(None, pattern=DATASET_ID_PATTERN, description="The id to register under; empty: made from the spec.")
    return create_model(f"{spec.__name__}Request", __base__=spec, __doc__=spec.__doc__, id=(str | None, chosen))


REQUESTS: dict[str, type[DatasetSpec]] = {kind: _request_of(spec) for kind, spec in DATASETS.items()}
DatasetRequest = Annotated[DatasetSpec, OneOf(REQUESTS)]


class DatasetPage(BaseModel):
    """A page of datasets."""

    items: list[Dataset]
    next: str | None = Field(None, description="Cursor of the next page; null at the end.")


class DatasetDeleted(BaseModel):
    """What deleting gave."""

    freed_bytes: int = Field(description="Disk space; a store that another dataset shares gives none.")


class DatasetFilter(BaseModel):
    """Which datasets, in which order."""

    model_config = ConfigDict(extra="forbid")

    state: DatasetState | None = Field(None, description="Only datasets in this state.")
    kind: str | None = Field(None, min_length=1, max_length=64, description="Only datasets of this kind.")
    unused: bool | None = Field(None, description="Only datasets that no run names (true), or that some do (false).")
    sort: DatasetSort = Field("-created_at", description="What to sort by; a leading - for descending.")
    limit: int = Field(50, ge=1, le=500, description="Items of a page.")
    cursor: str | None = Field(None, min_length=1, max_length=1_024, description="`next` of the page before.")

    def wants(self, entry: IndexEntry, uses: DatasetUses) -> bool:
        """Returns whether a dataset passes the filter."""
        state = _SHOWN_AS.get(entry.state, entry.state)
        return (
            (self.state is None or state == self.state)
            and (self.kind is None or entry.facts.dataset_kind == self.kind)
            and (self.unused is None or self.unused == (uses.num_runs(entry.id) == 0))
        )


def _shown(services: Services, dataset_id: str) -> Dataset:
    record = services.tools.record("dataset", dataset_id)
    return shown_dataset(services.home, services.stores, record, DatasetUses.now(services.live))


async def dataset_fields(
    body: Annotated[
        DatasetRequest, Body(openapi_examples={"folder": {"value": {"kind": "folder", "path": "/data/clips"}}})
    ],
    request: Request,
) -> dict[str, Any]:
    """Returns the fields as they came, with the kind: the document's model would take true for 1."""
    return {"kind": body.kind} | dict(await request.json())


@router.post("", status_code=202, summary="Register and prepare a dataset", responses=documented(409, 413, 429, 507))
def create_dataset(
    fields: Annotated[dict[str, Any], Depends(dataset_fields)], services: Uses, owner: Owner, response: Response
) -> Dataset:
    """Registers a dataset and queues its preparation; the same spec again is the same dataset."""
    dataset_id = fields.pop("id", None)
    record = services.datasets.register(_spec_of(fields), dataset_id, owner=owner)
    response.headers["Location"] = LOCATION + record.id
    return _shown(services, record.id)


@router.post("/check", summary="Look at what a dataset would be made of", responses=documented(413, 429, 503))
def check_new_dataset(fields: Annotated[dict[str, Any], Depends(dataset_fields)], services: Uses) -> DatasetCheck:
    """Lists the clips that a dataset would have, with counts, missing files and what is expected where.

    Takes what `POST /datasets` takes and registers nothing.
    """
    fields.pop("id", None)
    return check_dataset(services.settings, _spec_of(fields))


def _spec_of(fields: dict[str, Any]) -> DatasetSpec:
    try:
        return DATASETS[fields["kind"]].model_validate_json(json.dumps(fields), strict=True)
    except ValidationError as error:
        raise invalid(error) from None


@router.get("", summary="Datasets by page")
def list_datasets(wanted: Annotated[DatasetFilter, Query()], services: Uses) -> DatasetPage:
    """Registered datasets that pass the filter."""
    pinned = fingerprint(wanted.model_dump(exclude={"cursor", "limit"}))
    after = decode_cursor(wanted.cursor, pinned) if wanted.cursor else None
    uses = DatasetUses.now(services.live)
    records, cursor = services.live.page(
        "dataset", lambda entry: wanted.wants(entry, uses), Sort.parse(wanted.sort), after, wanted.limit
    )
    return DatasetPage(
        items=readable(records, lambda record: shown_dataset(services.home, services.stores, record, uses)),
        next=encode_cursor(cursor, pinned) if cursor else None,
    )


@router.get("/{dataset_id}", summary="One dataset", responses=documented(404))
def read_dataset(dataset_id: DatasetId, services: Uses) -> Dataset:
    """A dataset: the progress of its preparation, splits, class counts, the first skipped clips, the clips' quality."""
    shown = _shown(services, dataset_id)
    if shown.state != "ready":
        return shown
    found = {"quality": services.stores.quality(dataset_id), "left_out": services.stores.left_out(dataset_id)}
    return shown.model_copy(update=found)


@router.post("/{dataset_id}/cancel", status_code=202, summary="Cancel a preparation", responses=documented(404, 409))
def cancel_dataset(dataset_id: DatasetId, services: Uses, response: Response) -> Dataset:
    """Asks a preparation to end. Posting the same dataset again takes it up where it stopped."""
    services.datasets.cancel(dataset_id)
    response.headers["Location"] = LOCATION + dataset_id
    return _shown(services, dataset_id)


@router.post(
    "/{dataset_id}/prepare",
    status_code=202,
    summary="Take in what changed behind a dataset",
    responses=documented(404, 409, 429, 507),
)
def prepare_dataset(dataset_id: DatasetId, services: Uses, owner: Owner, response: Response) -> Dataset:
    """Lists the clips again and prepares them if they differ. Runs go on with the data that they began on."""
    services.datasets.prepare_again(dataset_id, owner=owner)
    response.headers["Location"] = LOCATION + dataset_id
    return _shown(services, dataset_id)


@router.delete("/{dataset_id}", summary="Delete a dataset", responses=documented(404, 409))
def delete_dataset(dataset_id: DatasetId, services: Uses) -> DatasetDeleted:
    """Deletes a dataset's store and the clips that it made, never the user's own files; frees the space at once."""
    return DatasetDeleted(freed_bytes=services.datasets.delete(dataset_id))
