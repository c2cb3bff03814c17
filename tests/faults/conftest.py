"""What the tests of faults compare with."""

from __future__ import annotations

import pytest

from tests.faults.epochs import EPOCHS, attempt, content
from tests.worker.runtime.test_supervisor import bench as bench
from worker.contract.layout import RunFolder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run of some epochs that nothing disturbed."""
    folder = RunFolder(tmp_path_factory.mktemp("undisturbed"))
    attempt(folder, EPOCHS)
    return content(folder)
