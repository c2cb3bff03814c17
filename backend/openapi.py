"""The OpenAPI document, and the refusal of query parameters that it does not name."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from backend.problems import MEDIA_TYPE, invalid_field
from worker.contract.errors import FieldProblem, Problem

DESCRIPTION = """See, sample by sample, how unevenly an audio-visual model learns from its modalities.

Times are ISO 8601 in UTC, durations are seconds (`*_s`), shares are 0 to 1. Lists are pages: `{"items": [...], "next":
cursor or null}`. Errors are `application/problem+json` with a stable `code`. A POST may carry an `Idempotency-Key`:
sent again with the same key, it is answered again and nothing is done twice."""

TAGS = [
    {"name": "runs", "description": "Training runs: launch, follow, stop, compare."},
    {"name": "samples", "description": "Single samples of a run, and what is counted from them."},
    {"name": "datasets", "description": "Registered datasets, their preparation and their clips."},
    {"name": "scores", "description": "Uploaded clips, scored by a run's model."},
    {"name": "catalog", "description": "What can be chosen."},
    {"name": "system", "description": "Workers, queues, Redis, disk, health."},
]
_KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
    "description": "Any text that is new for each new request, such as a UUID.",
}


def operation_id(route: APIRoute) -> str:
    """Returns an operation's id: the name of the function that answers it."""
    return route.name


def build_document(app: FastAPI) -> dict[str, Any]:
    """Returns the OpenAPI document, with problem answers in place of FastAPI's own."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, tags=TAGS
        )
        schemas = document["components"]["schemas"]
        for model in (Problem, FieldProblem):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schema.pop("$defs", None)
            schemas[model.__name__] = schema
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for path in document["paths"].values():
            for method, operation in path.items():
                _finish_operation(method, operation)
        app.openapi_schema = document
    return app.openapi_schema


def _finish_operation(method: str, operation: dict[str, Any]) -> None:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    answers = operation["responses"]
    answers["422"] = {"description": "The request is not valid", "content": content}
    answers["403"] = {"description": "Another web page sent the request", "content": content}
    answers["503"] = answers.get("503", {"description": "Redis does not answer", "content": content})
    if method == "post":
        operation.setdefault("parameters", []).append(_KEY_HEADER)
        answers["409"] = answers.get("409", {"description": "Not possible in this state", "content": content})
        answers["413"] = answers.get("413", {"description": "Too large", "content": content})


class KnownParameters:
    """The query parameters that each operation names, for refusing all others."""

    def __init__(self, document: dict[str, Any]) -> None:
        """Collects the names from an OpenAPI document."""
        self._names = {
            operation["operationId"]: {
                item["name"] for item in operation.get("parameters", []) if item["in"] == "query"
            }
            for operations in document["paths"].values()
            for operation in operations.values()
        }

    def check(self, request: Request) -> None:
        """Passes a request whose query parameters are all known and given once.

        Raises:
            InvalidRequestError: when one is not.
        """
        names = self._names.get(request.scope["endpoint"].__name__, set())
        given = [name for name, _ in request.query_params.multi_items()]
        for name in given:
            if name not in names:
                known = ", ".join(sorted(names)) or "no query parameters"
                raise invalid_field(
                    name[:80],
                    expected=known,
                    got="another name",
                    remedy="Check the spelling.",
                    code="unknown-parameter",
                )
            if given.count(name) > 1:
                raise invalid_field(name, expected="once", got="more than once", remedy="Send it once.")


async def refuse_unknown_parameters(request: Request) -> None:
    """Dependency of every route: refuses query parameters that the OpenAPI document does not name."""
    if request.query_params:
        known = request.app.state.known_parameters
        assert isinstance(known, KnownParameters)
        known.check(request)
