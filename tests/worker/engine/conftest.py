"""A tiny store in memory, and runs on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.worker.memory_store import MemoryStore, resolved_spec, run_spec
from worker.engine.assembly import Assembly, assemble


class Bench:
    """What tests need of the above."""

    MemoryStore = MemoryStore
    run_spec = staticmethod(run_spec)
    resolved_spec = staticmethod(resolved_spec)

    @staticmethod
    def assembly(
        store: MemoryStore, resolved: dict[str, Any] | None = None, *, begins: bool = True, **fields: Any
    ) -> Assembly:
        return assemble(run_spec(**fields), resolved_spec(**(resolved or {})), store, begins=begins)


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="session")
def store() -> MemoryStore:
    # 65 training clips in batches of 16: the last one, alone, joins the batch before.
    return MemoryStore({"train": 65, "validation": 24, "test": 20})


@pytest.fixture(autouse=True)
def _global_state() -> Iterator[None]:
    """The engine fixes threads and algorithms of its process; other tests get them back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
