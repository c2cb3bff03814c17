"""The Python client: `GapscopeClient()` talks to a running Gapscope."""

from frontend.client.addresses import discover
from frontend.client.client import GapscopeClient
from frontend.client.errors import BadRequestError, ForbiddenError, ServerError, UnreachableError
from frontend.client.pages import Page
from worker.contract.errors import GapscopeError

__all__ = [
    "BadRequestError",
    "ForbiddenError",
    "GapscopeClient",
    "GapscopeError",
    "Page",
    "ServerError",
    "UnreachableError",
    "discover",
]
