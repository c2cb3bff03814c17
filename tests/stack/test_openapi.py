"""Whatever the OpenAPI document allows, and much that it does not, is answered as the document says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.errors import SchemathesisError

from tests.backend.stack.running import RunningStack, start_stack, stop_stack, wait_for_stack
from tests.stack.driving import Api, tiny_spec

pytestmark = pytest.mark.stack

# Some rules are no JSON schema (the sum of clips, a cursor that is ours, bytes that are a clip): such a request is
# valid by the document and still refused, with 413, 415 or 422.
ANSWERS = ["2xx", "403", "404", "409", "413", "415", "422", "429"]
CONFIG = {"checks": {"positive_data_acceptance": {"expected-statuses": ANSWERS}}}
EXAMPLES = settings(
    max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack apart: what these requests queue would keep the shared one busy."""
    home = tmp_path_factory.mktemp("openapi") / "home"
    process = start_stack(home)
    try:
        yield wait_for_stack(home, process)
    finally:
        stop_stack(process)


@pytest.fixture(scope="module")
def existing(own_stack: RunningStack) -> dict[str, str]:
    """Ids of things that are there."""
    with closing(Api(own_stack.api_url)) as api:
        run = api.wait_for_state(api.launch(tiny_spec(epochs=1)), {"finished"})
        sample = api.get(f"/runs/{run['id']}/samples", limit=1)["items"][0]["sample_id"]
    return {"run_id": run["id"], "dataset_id": run["resolved_spec"]["dataset_id"], "sample_id": sample}


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_api_answers_as_its_document_says(
    mode: GenerationMode, own_stack: RunningStack, existing: dict[str, str]
) -> None:
    config = SchemathesisConfig.from_dict(CONFIG)
    schema = schemathesis.openapi.from_url(f"{own_stack.api_url}/api/v1/openapi.json", config=config)
    operations = schema.exclude(path_regex="/events/stream").get_all_operations()
    checked = sum(_check(found.ok(), mode, existing) for found in operations)
    assert checked > (30 if mode is GenerationMode.POSITIVE else 20)
    assert _restarts(own_stack.home) == 0


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


def _restarts(home: Path) -> int:
    """Returns how often processes of the stack had to be started again."""
    processes = json.loads((home / "stack.json").read_text())["processes"]
    return sum(process["restarts"] for process in processes.values())
