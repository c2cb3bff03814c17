"""Errors as application/problem+json: the one place where an exception becomes an HTTP answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from redis.exceptions import OutOfMemoryError, RedisError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from worker.contract.errors import (
    FieldProblem,
    GapscopeError,
    InsufficientStorageError,
    InvalidRequestError,
    Problem,
    TooManyError,
    UnavailableError,
)
from worker.contract.spec.base import MisfitError
from worker.contract.spec.registry import DATASETS, ENCODERS, FUSIONS, OBJECTIVES, OPTIMIZERS, SCHEDULES

MEDIA_TYPE = "application/problem+json"
MAX_FIELDS = 20
"""Faults that one answer lists; more help nobody."""

log = logging.getLogger(__name__)

_TITLES = {
    401: "A key is needed",
    403: "Not allowed",
    404: "Not found",
    405: "No such method here",
    408: "The upload stood still",
    409: "Not possible in this state",
    410: "Not kept",
    413: "Too large",
    415: "Not a kind of file that can be used",
    416: "No such range",
    422: "The request is not valid",
    429: "Too many",
    500: "Something went wrong",
    503: "Not available now",
    507: "Not enough disk space",
}
_HTTP_CODES = {
    422: "invalid-request",
    404: "no-such-route",
    405: "method-not-allowed",
    413: "body-too-large",
    416: "range-not-satisfiable",
}
_REMEDIES = {
    "extra_forbidden": "Leave the field out, or check its spelling against the documentation.",
    "missing": "Add the field.",
    "union_tag_not_found": "Add the field.",
    "json_invalid": "Send valid JSON.",
    "string_too_short": "Fill the field in.",
}
_WITHIN_BOUNDS = "Send a value within these bounds; GET /api/v1/catalog has the schema."
_TOGETHER = "These settings do not go together: change one of them."
_TAGS = ("union_tag_invalid", "union_tag_not_found")
_EXPECTED = {
    "extra_forbidden": "no such field",
    "missing": "a value",
    "union_tag_not_found": "a value",
    "union_tag_invalid": "one of {expected_tags}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_too_short": "at least {min_length} character(s)",
    "string_too_long": "at most {max_length} characters",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dict_type": "an object",
}
"""Type of pydantic's error -> what was expected, as the end of a sentence; pydantic's own words for the rest."""


class ForbiddenError(GapscopeError):
    """Another web page may not do this."""

    status = 403
    title = _TITLES[403]
    default_code = "forbidden"


class UnsupportedMediaError(GapscopeError):
    """The uploaded file is no clip of a kind that can be decoded."""

    status = 415
    title = _TITLES[415]
    default_code = "not-a-clip"


def answer(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """Returns a problem as the HTTP answer that carries it."""
    return JSONResponse(
        problem.model_dump(mode="json", exclude_none=True), problem.status, headers=headers, media_type=MEDIA_TYPE
    )


_UNION_TAGS = {"spec", "reference"}.union(DATASETS, ENCODERS, FUSIONS, OBJECTIVES, OPTIMIZERS, SCHEDULES)
"""What pydantic puts into a location to say which member of a union it tried; no field of ours is named so."""
_SOURCES = ("body", "query", "path", "header")


def fields_at_fault(errors: Sequence[Any], drop: tuple[str, ...] = _SOURCES) -> list[FieldProblem]:
    """Returns pydantic's error list as field problems.

    Args:
        errors: what `ValidationError.errors()` returns.
        drop: leading parts of a location that are no field of the request.
    """
    return [_field_problem(error, drop) for error in errors[:MAX_FIELDS]]


def _field_problem(error: dict[str, Any], drop: tuple[str, ...]) -> FieldProblem:
    place = list(error["loc"])
    while place and place[0] in drop:
        place = place[1:]
    place = [part for part in place if part not in _UNION_TAGS]
    kind, context = str(error["type"]), error.get("ctx", {})
    if kind in _TAGS:  # what is wrong is the field that tells the members of a union apart
        place.append(str(context["discriminator"]).strip("'"))
    absent = kind in ("missing", "union_tag_not_found")
    together = kind == "value_error" and isinstance(error.get("input"), dict)
    if isinstance(misfit := context.get("error"), MisfitError):
        place.append(misfit.field)
    return FieldProblem(
        field=".".join(str(part) for part in place) or "(the whole)",
        expected=_EXPECTED[kind].format(**context) if kind in _EXPECTED else _without_preamble(str(error["msg"])),
        got="nothing" if absent else repr(context.get("tag", error.get("input")))[:200],
        remedy=_TOGETHER if together else _REMEDIES.get(kind, _WITHIN_BOUNDS),
    )


def _without_preamble(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input should be ")


def invalid(error: ValidationError, prefix: str = "") -> InvalidRequestError:
    """Returns a pydantic error as the domain error for a request that is not valid.

    Args:
        error: what validation raised.
        prefix: path of the model within the request, such as `dataset`.
    """
    fields = fields_at_fault(error.errors(include_url=False), drop=())
    if prefix:
        fields = [field.model_copy(update={"field": f"{prefix}.{field.field}"}) for field in fields]
    return _invalid_fields(fields)


def _invalid_fields(fields: list[FieldProblem]) -> InvalidRequestError:
    return InvalidRequestError(fields[0].sentence, errors=fields)


def invalid_field(field: str, *, expected: str, got: str, remedy: str, code: str | None = None) -> InvalidRequestError:
    """Returns the error for one field of a request that is not valid."""
    fault = FieldProblem(field=field, expected=expected, got=got, remedy=remedy)
    return InvalidRequestError(f"{field}: expected {expected}; got {got}. {remedy}", code=code, errors=[fault])


def answer_http(error: HTTPException) -> JSONResponse:
    """Returns Starlette's own errors (no such route, no such method, body too large) as problem answers."""
    status = 422 if error.status_code == 400 else error.status_code  # a body that is no UTF-8 is not valid either
    problem = Problem(
        title=_TITLES.get(status, "The request cannot be answered"),
        status=status,
        detail=str(error.detail),
        code=_HTTP_CODES.get(status, f"http-{status}"),
    )
    return answer(problem, dict(error.headers or {}))


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the OpenAPI descriptions of problem answers, for a route's `responses`."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _TITLES[status], "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Registers the handlers that turn every exception into a problem document."""
    app.add_exception_handler(GapscopeError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RedisError, _on_redis_error)
    app.add_exception_handler(Exception, _on_bug)


async def _on_domain_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GapscopeError)
    if error.status >= 500 and error.status not in (503, 507):
        log.error("%s %s: %s", request.method, request.url.path, error.detail)
    return answer(error.problem(), _headers(error))


def _headers(error: GapscopeError) -> dict[str, str] | None:
    if isinstance(error, TooManyError):
        return {"Retry-After": str(error.retry_after_s)}
    return {"Retry-After": "5"} if error.status == 503 else None


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return answer(_invalid_fields(fields_at_fault(error.errors())).problem())


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    response = answer_http(error)
    if error.status_code == 405 and (methods := request.app.state.allowed_methods.of(request.url.path)):
        response.headers["Allow"] = methods
    return response


async def _on_redis_error(request: Request, error: Exception) -> JSONResponse:
    log.warning("%s %s: %s: %s", request.method, request.url.path, type(error).__name__, error)
    if isinstance(error, OutOfMemoryError):
        full = InsufficientStorageError("Redis is out of memory. Delete old runs or give it more.", code="redis-full")
        return answer(full.problem())
    gone = UnavailableError(
        "Redis does not answer. It is started again by itself; try again soon.", code="redis-unavailable"
    )
    return answer(gone.problem(), {"Retry-After": "2"})


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    log.exception("%s %s", request.method, request.url.path, exc_info=error)
    return answer(GapscopeError("This is a fault of Gapscope; its log says more.").problem())
