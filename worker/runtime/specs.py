"""The specs of jobs, read from their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import TypeAdapter, ValidationError

from worker.contract.errors import CorruptRecordError
from worker.contract.layout import DatasetFolder, RunFolder
from worker.contract.record import read_spec
from worker.contract.spec import DatasetReference, DatasetSpec, RunSpec
from worker.contract.spec.registry import BROKEN_PLUGINS, DATASETS, OneOf


def run_spec(folder: RunFolder, run_id: str) -> RunSpec:
    """Returns the spec of a run.

    Raises:
        CorruptRecordError: when spec.json is missing or holds no run spec; code `implementation-missing` when it
            names a kind that no package on this worker provides.
    """
    record = read_spec(folder.spec)
    if record is None:
        raise CorruptRecordError(f"The run {run_id} has no spec.json.")
    try:
        return RunSpec.model_validate(record.spec)
    except ValidationError as error:
        raise _unreadable(folder.spec, "run", error) from error


def dataset_spec(folder: DatasetFolder, dataset_id: str) -> DatasetSpec:
    """Returns the spec of a dataset.

    Raises:
        CorruptRecordError: as for `run_spec`.
    """
    record = read_spec(folder.spec)
    if record is None:
        raise CorruptRecordError(f"The dataset {dataset_id} has no spec.json.")
    adapter: TypeAdapter[DatasetSpec] = TypeAdapter(Annotated[DatasetSpec, OneOf(DATASETS)])
    try:
        return adapter.validate_python(record.spec)
    except ValidationError as error:
        raise _unreadable(folder.spec, "dataset", error) from error


def dataset_id_of(spec: RunSpec) -> str:
    """Returns the id of the dataset that a run needs."""
    return spec.dataset.id if isinstance(spec.dataset, DatasetReference) else spec.dataset.dataset_id()


def _unreadable(path: Path, what: str, error: ValidationError) -> CorruptRecordError:
    for fault in error.errors():
        if fault["type"] == "union_tag_invalid":
            broken = "; ".join(f"{name}: {reason}" for name, reason in BROKEN_PLUGINS.items()) or "none"
            return CorruptRecordError(
                f"The {what} needs the kind {fault['ctx']['tag']!r}, which no package on this worker provides. Install "
                f"the package that the backend has, or repair it, and resume. Broken plug-ins here: {broken}.",
                code="implementation-missing",
            )
    return CorruptRecordError(f"{path} holds no {what} spec of this version: {error}.")
