"""The specs of jobs, read from their folders."""

from __future__ import annotations

from typing import Annotated

from pydantic import TypeAdapter

from worker.contract.errors import CorruptRecordError
from worker.contract.layout import DatasetFolder, RunFolder
from worker.contract.record import read_spec
from worker.contract.spec import DatasetReference, DatasetSpec, RunSpec
from worker.contract.spec.registry import DATASETS, OneOf


def run_spec(folder: RunFolder, run_id: str) -> RunSpec:
    """Returns the spec of a run.

    Raises:
        CorruptRecordError: when spec.json is missing or holds no run spec.
    """
    record = read_spec(folder.spec)
    if record is None:
        raise CorruptRecordError(f"The run {run_id} has no spec.json.")
    try:
        return RunSpec.model_validate(record.spec)
    except ValueError as error:
        raise CorruptRecordError(f"{folder.spec} holds no run spec of this version: {error}.") from error


def dataset_spec(folder: DatasetFolder, dataset_id: str) -> DatasetSpec:
    """Returns the spec of a dataset.

    Raises:
        CorruptRecordError: when spec.json is missing or holds no dataset spec.
    """
    record = read_spec(folder.spec)
    if record is None:
        raise CorruptRecordError(f"The dataset {dataset_id} has no spec.json.")
    adapter: TypeAdapter[DatasetSpec] = TypeAdapter(Annotated[DatasetSpec, OneOf(DATASETS)])
    try:
        return adapter.validate_python(record.spec)
    except ValueError as error:
        raise CorruptRecordError(f"{folder.spec} holds no dataset spec of this version: {error}.") from error


def dataset_id_of(spec: RunSpec) -> str:
    """Returns the id of the dataset that a run needs."""
    return spec.dataset.id if isinstance(spec.dataset, DatasetReference) else spec.dataset.dataset_id()
