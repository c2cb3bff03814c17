"""Links of the OpenAPI document: what can be done next with what an answer names, so that tools can follow it."""

from __future__ import annotations

import re
from typing import Any

ID_OF = {"Run": "run_id", "Dataset": "dataset_id", "Score": "score_id", "ScoreBatch": "batch_id", "Subset": "subset_id"}
"""Schema of a resource -> the path parameter that takes its `id`."""
_PARAMETER = re.compile(r"{(\w+)}")

Link = dict[str, Any]


def add_links(document: dict[str, Any]) -> None:
    """Adds links from what makes a resource to all that take its id, from a list to its next page and its samples.

    Args:
        document: the OpenAPI document; changed in place.
    """
    takers: dict[tuple[str, ...], list[str]] = {}
    for path, operations in document["paths"].items():
        names = tuple(_PARAMETER.findall(path))
        takers.setdefault(names, []).extend(operation["operationId"] for operation in operations.values())
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                name = _schema_name(answer)
                if status.startswith("2") and name in schemas:
                    links = _made(method, name, takers) | _listed(path, operation, schemas[name], schemas, takers)
                    if links:
                        answer["links"] = links


def _made(method: str, schema: str, takers: dict[tuple[str, ...], list[str]]) -> dict[str, Link]:
    """Returns the links of a POST that answers with a resource."""
    parameter = ID_OF.get(schema) if method == "post" else None
    if parameter is None:
        return {}
    return {taker: _link(taker, {parameter: "$response.body#/id"}) for taker in takers[(parameter,)]}


def _listed(
    path: str,
    operation: dict[str, Any],
    schema: dict[str, Any],
    schemas: dict[str, Any],
    takers: dict[tuple[str, ...], list[str]],
) -> dict[str, Link]:
    """Returns the links of a page: to the next one under the same filter, and to its first sample."""
    fields = schema.get("properties", {})
    given = {item["name"]: item["in"] for item in operation.get("parameters", []) if item["in"] in ("path", "query")}
    if "next" not in fields or "cursor" not in given:
        return {}
    same = {name: f"$request.{place}.{name}" for name, place in given.items()}
    links = {"next_page": _link(operation["operationId"], same | {"cursor": "$response.body#/next"})}
    above = tuple(_PARAMETER.findall(path))
    item = schemas.get(fields["items"]["items"].get("$ref", "").rpartition("/")[2], {})
    if "sample_id" in item.get("properties", {}):
        ids = {name: f"$request.path.{name}" for name in above} | {"sample_id": "$response.body#/items/0/sample_id"}
        links |= {taker: _link(taker, ids) for taker in takers.get((*above, "sample_id"), [])}
    return links


def _schema_name(answer: dict[str, Any]) -> str:
    content = answer.get("content", {}).get("application/json", {})
    return str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]


def _link(operation_id: str, parameters: dict[str, str]) -> Link:
    return {"operationId": operation_id, "parameters": parameters}
