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


def test_links_lead_from_what_is_made_to_what_can_be_done_with_it(filled: Filled) -> None:
    paths = filled.backend.get("/openapi.json")["paths"]
    made = paths["/api/v1/runs"]["post"]["responses"]["202"]["links"]
    assert made["delete_run"] == {"operationId": "delete_run", "parameters": {"run_id": "$response.body#/id"}}
    assert {"read_run", "cancel_run", "clone_run", "list_samples", "purge_run"} <= set(made)
    listed = paths["/api/v1/runs/{run_id}/samples"]["get"]["responses"]["200"]["links"]
    assert listed["next_page"]["parameters"]["cursor"] == "$response.body#/next"
    assert listed["next_page"]["parameters"]["run_id"] == "$request.path.run_id"
    assert listed["read_sample"]["parameters"]["sample_id"] == "$response.body#/items/0/sample_id"
    for resource in ("datasets", "scores", "scores/batch", "subsets"):
        answers = paths[f"/api/v1/{resource}"]["post"]["responses"]
        assert any(answer.get("links") for answer in answers.values()), resource
