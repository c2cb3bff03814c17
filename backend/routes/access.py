"""Who am I, and tickets for browsers."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from backend.access.guard import caller_of
from backend.access.keys import Role
from backend.access.tickets import LIFE_S, PARAMETER
from backend.dependencies import Uses
from worker.contract.errors import InvalidRequestError

router = APIRouter(prefix="/access", tags=["access"])


class Me(BaseModel):
    """The caller of this request."""

    name: str = Field(description="Of the key; `local` where no key is needed.")
    role: Role
    needs_key: bool = Field(description="Whether this API asks for keys.")


class TicketRequest(BaseModel):
    """For which request a ticket is wanted."""

    model_config = ConfigDict(extra="forbid")

    method: Literal["GET", "POST"] = "GET"
    path: str = Field(
        pattern=r"^/api/v1/[^\x00-\x1f\x7f?#]+$", max_length=1_024, description="Not quoted, without its query."
    )


class Ticket(BaseModel):
    """An address that a browser may open for a while without a key."""

    address: str = Field(description="The path with the ticket in its query; add parameters with `&`.")
    expires_in_s: int


@router.get("/me", summary="Who the caller is and what it may do")
def read_me(request: Request) -> Me:
    """The key that the request came with."""
    caller = caller_of(request)
    assert caller is not None  # the gate lets nobody else in here
    return Me(name=caller.key.name if caller.key else caller.name, role=caller.role, needs_key=caller.key is not None)


@router.post("/tickets", summary="A ticket for one address, for a browser")
def create_ticket(asked: TicketRequest, request: Request, services: Uses) -> Ticket:
    """A ticket is bound to a method, a path and the caller's key; it expires, and ends with the key."""
    caller = caller_of(request)
    if caller is None or caller.key is None:
        raise InvalidRequestError("No ticket is needed: this API asks for no keys here.", code="no-ticket-needed")
    ticket = services.tickets.issue(caller.key, asked.method, asked.path)
    return Ticket(address=f"{quote(asked.path)}?{urlencode({PARAMETER: ticket})}", expires_in_s=LIFE_S)
