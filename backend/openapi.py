"""The OpenAPI document, and the refusal of query parameters that it does not name."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from backend.openapi_links import add_links
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
    {"name": "access", "description": "Who the caller is, and tickets for browsers."},
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
        add_links(document)
        app.openapi_schema = document
    return app.openapi_schema


def _finish_operation(method: str, operation: dict[str, Any]) -> None:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    answers = operation["responses"]
    answers["422"] = {"description": "The request is not valid", "content": content}
    answers["401"] = {"description": "A key is needed, or is not valid", "content": content}
    answers["403"] = {
        "description": "Another web page sent the request, or the key's role is too low",
        "content": content,
    }
    answers["429"] = answers.get("429", {"description": "Too many requests", "content": content})
    answers["503"] = answers.get("503", {"description": "Redis does not answer", "content": content})
    if "requestBody" in operation:
        refused = {"description": "A kind of body that is not taken, such as a compressed one", "content": content}
        answers["415"] = answers.get("415", refused)
    if method == "post":
        operation.setdefault("parameters", []).append(_KEY_HEADER)
        answers["409"] = answers.get("409", {"description": "Not possible in this state", "content": content})
        answers["413"] = answers.get("413", {"description": "Too large", "content": content})


class AllowedMethods:
    """The methods that each path takes: a route knows its own alone, and `Allow` must name all."""

    def __init__(self, document: dict[str, Any]) -> None:
        """Collects the methods from an OpenAPI document."""
        self._paths = [
            (_literal_length(path), _matcher(path), ", ".join(sorted(method.upper() for method in operations)))
            for path, operations in document["paths"].items()
        ]

    def of(self, path: str) -> str | None:
        """Returns the methods of a path as `Allow` lists them, or None for a path that the document does not name."""
        fitting = [(literal, methods) for literal, matcher, methods in self._paths if matcher.fullmatch(path)]
        return max(fitting)[1] if fitting else None


def _literal_length(path: str) -> int:
    return len(re.sub(r"{\w+}", "", path))


def _matcher(path: str) -> re.Pattern[str]:
    parts = re.split(r"({\w+})", path)
    wild = {"{sample_id}": ".+"}  # a sample's id may have slashes
    return re.compile("".join(wild.get(part, "[^/]+") if part.startswith("{") else re.escape(part) for part in parts))


class KnownParameters:
    """The query parameters that each operation names, for refusing all others."""

    def __init__(self, document: dict[str, Any]) -> None:
        """Collects the names from an OpenAPI document."""
        self._names = {
            operation["operationId"]: {
                item["name"]: item["schema"].get("type") == "array"
                for item in operation.get("parameters", [])
                if item["in"] == "query"
            }
            for operations in document["paths"].values()
            for operation in operations.values()
        }

    def check(self, request: Request) -> None:
        """Passes a request whose query parameters are all known, and given once where they are no lists.

        Raises:
            InvalidRequestError: when one is not.
        """
        names = self._names.get(request.scope["endpoint"].__name__, {})
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
            if given.count(name) > 1 and not names[name]:
                raise invalid_field(name, expected="once", got="more than once", remedy="Send it once.")


async def refuse_unknown_parameters(request: Request) -> None:
    """Dependency of every route: refuses query parameters that the OpenAPI document does not name."""
    if request.query_params:
        known = request.app.state.known_parameters
        assert isinstance(known, KnownParameters)
        known.check(request)
