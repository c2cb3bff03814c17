"""The per-sample files of a run: one Parquet table an epoch, and the trajectories gap.f32 and posterior.f32.

Writing an epoch again gives the same files: after a crash nothing has to be looked up.

Shapes: N samples of the store, R rows of a table.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from worker.contract.full_disk import torn_write
from worker.contract.layout import SAMPLE_COLUMNS, RunFolder, replacing, sync_folder

Columns = Mapping[str, NDArray[np.generic]]
ROW_GROUP = 8_192
"""Rows that a look-up of one sample has to read."""


class NamedSamples(Protocol):
    """What tables need of a store (worker.datasets.store.PreparedStore)."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""

    @property
    def sample_ids(self) -> Sequence[str]:
        """N ids."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) true classes."""

    def splits(self) -> list[str]:
        """Returns N names of splits."""


class SampleFiles:
    """Writes the per-sample files of one run."""

    def __init__(self, folder: RunFolder, store: NamedSamples) -> None:
        self._folder = folder
        self._ids = pa.array(store.sample_ids, pa.string())
        self._classes = pa.array(list(store.classes), pa.string())
        self._labels = store.labels
        names = np.asarray(store.splits(), dtype=object)
        self._split_names = sorted(set(names.tolist()))
        self._splits = np.searchsorted(np.asarray(self._split_names, dtype=object), names)
        folder.samples.mkdir(parents=True, exist_ok=True)

    def write_epoch(
        self,
        epoch: int,
        rows: NDArray[np.int64],
        columns: Columns,
        gaps: NDArray[np.float32],
        posteriors: NDArray[np.float32],
    ) -> None:
        """Writes an epoch durably.

        Args:
            epoch: from 1.
            rows: (R,) store indices, ascending.
            columns: those of layout.SAMPLE_COLUMNS that the store does not have, (R,); one that is left out is null.
            gaps: (N,) NaN where not evaluated.
            posteriors: (N,) likewise.
        """
        self._put(epoch, self._table(rows, columns))
        _write_row(self._folder.gaps, epoch, gaps)
        _write_row(self._folder.posteriors, epoch, posteriors)
        sync_folder(self._folder.samples)

    def add_test(self, epoch: int, rows: NDArray[np.int64], columns: Columns) -> None:
        """Adds the test split's rows to an epoch that was written without them; may be repeated.

        Args:
            epoch: the last one.
            rows: (R,) store indices of the test split.
            columns: as in `write_epoch`.
        """
        path = self._folder.sample_table(epoch)
        added = self._table(rows, columns)
        before = pq.read_table(path, schema=added.schema)
        test = pa.compute.equal(before.column("split").cast(pa.string()), "test")
        both = pa.concat_tables([before.filter(pa.compute.invert(test)), added])
        places = pa.compute.index_in(both.column("sample_id"), value_set=self._ids)
        self._put(epoch, both.unify_dictionaries().take(pa.compute.array_sort_indices(places.combine_chunks())))
        for file, name in ((self._folder.gaps, "gap"), (self._folder.posteriors, "posterior_imbalanced")):
            values = _read_row(file, epoch, len(self._ids))
            values[rows] = columns[name]
            _write_row(file, epoch, values)

    def _table(self, rows: NDArray[np.int64], columns: Columns) -> pa.Table:
        given = {
            "sample_id": self._ids.take(pa.array(rows)),
            "split": pa.DictionaryArray.from_arrays(
                pa.array(self._splits[rows].astype(np.int32)), pa.array(self._split_names, pa.string())
            ),
            "label": self._classes_at(self._labels[rows]),
        }
        for name, kind in SAMPLE_COLUMNS.items():
            if name in given:
                continue
            if name not in columns:  # of a modality that the run does not have
                given[name] = self._nulls(kind, len(rows))
                continue
            values = columns[name]
            match kind:
                case "dictionary":
                    given[name] = self._classes_at(values)
                case "float32":
                    # A value that does not exist is null in the table and NaN in the trajectories.
                    given[name] = pa.array(values.astype(np.float32), pa.float32(), from_pandas=True)
                case _:
                    given[name] = pa.array(values.astype(bool), pa.bool_())
        return pa.table({name: given[name] for name in SAMPLE_COLUMNS})

    def _nulls(self, kind: str, num_rows: int) -> pa.Array:
        if kind == "dictionary":
            return self._classes_at(np.full(num_rows, -1))
        return pa.nulls(num_rows, pa.float32() if kind == "float32" else pa.bool_())

    def _classes_at(self, indices: NDArray[np.generic]) -> pa.DictionaryArray:
        known = indices.astype(np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(known, mask=known < 0), self._classes)

    def _put(self, epoch: int, table: pa.Table) -> None:
        with replacing(self._folder.sample_table(epoch)) as partial:
            pq.write_table(table, partial, compression="zstd", row_group_size=ROW_GROUP)


def _write_row(path: Path, epoch: int, values: NDArray[np.float32]) -> None:
    """Writes row `epoch` at its own place: a second time changes nothing."""
    data = np.ascontiguousarray(values, dtype="<f4").tobytes()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if os.pwrite(descriptor, data, (epoch - 1) * len(data)) != len(data):
            raise torn_write(path)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_row(path: Path, epoch: int, num_samples: int) -> NDArray[np.float32]:
    return np.fromfile(path, "<f4", num_samples, offset=(epoch - 1) * num_samples * 4)
