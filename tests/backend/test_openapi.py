"""The OpenAPI document says of every operation what a client must know."""

from __future__ import annotations

from tests.backend.conftest import Filled


def test_every_operation_documents_its_refusals_and_names_its_path_ids(filled: Filled) -> None:
    document = filled.backend.get("/openapi.json")
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert operation["tags"], path
            assert "application/problem+json" in operation["responses"]["422"]["content"]
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    assert "pattern" in parameter["schema"], path
    assert "HTTPValidationError" not in document["components"]["schemas"]
