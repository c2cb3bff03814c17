"""Datasets that are uploaded: a zip of clips, straight from the browser."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from backend.dependencies import Owner, Services, Uses
from backend.presenting import shown_dataset
from backend.problems import documented
from backend.uploads import Incoming
from backend.uses import DatasetUses
from worker.contract.record import JobRecord
from worker.contract.resources import Dataset
from worker.contract.spec.datasets import DATASET_ID_PATTERN

router = APIRouter(prefix="/datasets", tags=["datasets"])
LOCATION = "/api/v1/datasets/"

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "A zip: a folder a class (or <split>/<class>/*), or one CSV file at the top "
                            "that lists the clips.",
                        },
                        "id": {"type": "string", "pattern": DATASET_ID_PATTERN, "description": "Made by default."},
                        "spec": {
                            "type": "string",
                            "description": "JSON: the fields of a folder's spec without kind and path.",
                        },
                    },
                }
            }
        },
    }
}


@router.post(
    "/upload",
    status_code=202,
    summary="Upload a zip of clips and prepare it",
    openapi_extra=_FORM,
    responses=documented(408, 409, 413, 415, 429, 507),
)
async def upload_dataset(request: Request, response: Response, services: Uses, owner: Owner) -> Dataset:
    """Takes a zip in, unpacks it under the home and queues its preparation; the same clips again are the same dataset.

    Links, devices, absolute or ambiguous names, encryption and zip bombs are refused, and nothing of them is kept.
    """
    record = await services.uploads.accept(Incoming.of(request), owner=owner)
    response.headers["Location"] = LOCATION + record.id
    return await run_in_threadpool(_shown, services, record)


def _shown(services: Services, record: JobRecord) -> Dataset:
    return shown_dataset(services.home, services.stores, record, DatasetUses.now(services.live))
