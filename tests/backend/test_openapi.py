"""Whatever the OpenAPI document allows, and much that it does not, is answered as the document says."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig

from tests.backend.conftest import Backend

# Some rules are no JSON schema (the sum of clips, a cursor that is ours, bytes that are a clip): such a request is
# valid by the document and still refused, with 413, 415 or 422.
REFUSALS = {
    "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "404", "409", "413", "415", "422", "429"]}}
}


@pytest.fixture(scope="module")
def api_schema(shared_backend: Backend) -> Any:
    shared_backend.services.live.set_generation("test")
    config = SchemathesisConfig.from_dict(REFUSALS)
    return schemathesis.openapi.from_url(f"{shared_backend.url}/api/v1/openapi.json", config=config)


schema = schemathesis.pytest.from_fixture("api_schema")


@schema.exclude(path_regex="/events/stream").parametrize()
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_api_answers_as_its_document_says(case: Any) -> None:
    case.call_and_validate(timeout=20)


def test_every_operation_documents_its_refusals_and_names_its_path_ids(shared_backend: Backend) -> None:
    document = shared_backend.get("/openapi.json")
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert operation["tags"], path
            assert "application/problem+json" in operation["responses"]["422"]["content"]
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    assert "pattern" in parameter["schema"], path
    assert "HTTPValidationError" not in document["components"]["schemas"]
