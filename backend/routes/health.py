"""Health: is the process alive, and is there everything that work needs."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from backend.dependencies import Uses
from backend.problems import documented
from worker.contract.errors import FieldProblem, UnavailableError

router = APIRouter(prefix="/health", tags=["system"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """Redis answers, and each queue has a worker."""

    status: Literal["ready"] = "ready"


@router.get("/live", summary="Whether the API's process lives")
async def read_liveness() -> Alive:
    """Answers while the process lives, whatever else is down."""
    return Alive()


@router.get("/ready", summary="Whether jobs can be accepted and worked on", responses=documented(503))
def read_readiness(services: Uses) -> Ready:
    """Answers 503 with what is missing: Redis, or a queue whose workers have not beaten for 10 s."""
    missing = services.live.missing()
    if missing:
        faults = [
            FieldProblem(field=name, expected=expected, got=got, remedy="Start it: `gapscope up`, or see its log.")
            for name, expected, got in missing
        ]
        raise UnavailableError("Missing: " + ", ".join(name for name, _, _ in missing) + ".", errors=faults)
    return Ready()
