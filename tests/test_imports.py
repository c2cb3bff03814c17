"""What is light stays light: the contract, the backend and the frontend load none of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "torchaudio", "torchvision", "sklearn", "streamlit", "celery", "numpy"}


def loaded_after(statement: str) -> set[str]:
    """Returns the top-level modules that a fresh interpreter has after `statement`."""
    script = f"{statement}\nimport sys\nprint(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "module",
    ["spec", "events", "scores", "resources", "errors", "settings", "keys", "layout", "ledger", "journal"],
)
def test_contract_loads_no_torch_numpy_or_celery(module: str) -> None:
    assert not loaded_after(f"import worker.contract.{module}") & HEAVY


def test_backend_loads_no_torch_and_no_streamlit() -> None:
    loaded = loaded_after("import backend.main; backend.main.create_app")
    assert not loaded & {"torch", "torchaudio", "torchvision", "sklearn", "streamlit"}


def test_frontend_client_loads_no_torch_celery_or_redis() -> None:
    assert not loaded_after("import frontend.client") & {"torch", "sklearn", "celery", "streamlit"}


def test_command_line_help_loads_nothing_heavy() -> None:
    assert not loaded_after("import frontend.cli.main") & (HEAVY | {"pydantic", "httpx", "rich", "pandas"})


def test_celery_main_process_loads_no_torch() -> None:
    assert not loaded_after("import worker.runtime.celery_app") & {"torch", "sklearn"}
