"""Whatever the OpenAPI document allows, and much that it does not, is answered as the document says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.errors import SchemathesisError

from tests.backend.conftest import Filled
from worker.contract import keys
from worker.contract.resources import Beat

# Some rules are no JSON schema (the sum of clips, a cursor that is ours, bytes that are a clip): such a request is
# valid by the document and still refused, with 413, 415 or 422.
ANSWERS = ["2xx", "403", "404", "409", "413", "415", "422", "429"]
CONFIG = {"checks": {"positive_data_acceptance": {"expected-statuses": ANSWERS}}}
EXAMPLES = settings(
    max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_api_answers_as_its_document_says(filled: Filled, mode: GenerationMode) -> None:
    for queue in keys.QUEUES.values():
        beat = Beat(
            name=queue, queue=queue, pid=1, host="here", devices=[], resident_bytes=1, started_at=datetime.now(UTC)
        )
        filled.backend.services.redis.set(keys.worker_beat(queue), beat.model_dump_json(), ex=300)
    config = SchemathesisConfig.from_dict(CONFIG)
    schema = schemathesis.openapi.from_url(f"{filled.backend.url}/api/v1/openapi.json", config=config)
    existing = {"run_id": filled.run, "dataset_id": filled.dataset_id, "sample_id": "clip-000007"}
    checked = 0
    for found in schema.exclude(path_regex="/events/stream").get_all_operations():
        checked += _check(found.ok(), mode, existing)
    assert checked > (30 if mode is GenerationMode.POSITIVE else 20)


def _check(operation: Any, mode: GenerationMode, existing: dict[str, str]) -> bool:
    """Sends requests to one operation; where they are valid and change nothing, to what exists."""

    def send(case: Any) -> None:
        if mode is GenerationMode.POSITIVE and operation.method.upper() == "GET":
            case.path_parameters.update({name: existing[name] for name in case.path_parameters if name in existing})
        case.call_and_validate(timeout=20)

    try:
        EXAMPLES(given(case=operation.as_strategy(generation_mode=mode))(send))()
    except (Unsatisfiable, SchemathesisError):
        if mode is GenerationMode.POSITIVE:  # nothing about a request without parameters can be wrong
            raise
        return False
    return True


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
