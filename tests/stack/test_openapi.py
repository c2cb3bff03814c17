"""Whatever the OpenAPI document allows, and much that it does not, is answered as the document says."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def api_schema(stack: Any) -> Any:
    return schemathesis.openapi.from_url(f"{stack.api_url}/api/v1/openapi.json")


schema = schemathesis.pytest.from_fixture("api_schema")


@schema.exclude(path_regex="/events/stream").parametrize()
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_api_answers_as_its_document_says(case: Any) -> None:
    case.call_and_validate(timeout=20)
