"""Errors of the API as exceptions: the class says the status, the code is the API's own."""

from __future__ import annotations

import httpx
from pydantic import ValidationError

from worker.contract.errors import (
    ConflictError,
    GapscopeError,
    InsufficientStorageError,
    InvalidRequestError,
    NotFoundError,
    Problem,
    TooLargeError,
    TooManyError,
    UnavailableError,
)


class BadRequestError(GapscopeError):
    """The API refuses a request in a way that has no class of its own (400, 405, 415 and the like)."""

    status = 400
    title = "The request was refused"
    default_code = "bad-request"


class ForbiddenError(GapscopeError):
    """The request comes from where the API lets nobody in, or without a key."""

    status = 403
    title = "Not allowed"
    default_code = "forbidden"


class ServerError(GapscopeError):
    """The API failed, or answered something that is no answer of Gapscope's."""

    status = 500
    title = "The API failed"
    default_code = "server-error"


class UnreachableError(UnavailableError):
    """The API does not answer."""

    title = "The API does not answer"
    default_code = "api-unreachable"


_KINDS: tuple[type[GapscopeError], ...] = (
    ForbiddenError,
    NotFoundError,
    ConflictError,
    TooLargeError,
    InvalidRequestError,
    TooManyError,
    UnavailableError,
    InsufficientStorageError,
)
_BY_STATUS = {kind.status: kind for kind in _KINDS} | {401: ForbiddenError}


def error_from(response: httpx.Response) -> GapscopeError:
    """Returns the exception for an answer of 400 or above, whose body has been read."""
    kind = _BY_STATUS.get(response.status_code, BadRequestError if response.status_code < 500 else ServerError)
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        request = response.request
        detail = (
            f"{request.method} {request.url} answered {response.status_code} without a problem document: is this "
            f"the address of a Gapscope API? It said: {response.text[:200].strip() or 'nothing'}"
        )
        return kind(detail, code="no-problem-document")
    return kind(problem.detail, code=problem.code, errors=problem.errors)
