"""Saved subsets: chosen by a filter of a run's samples or one by one, kept in the home, copied into the runs on them.

Training samples alone: one of the test or the validation split is refused.
"""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from backend.jobs import JobTools
from backend.origins import head_of
from backend.paging import Cursor, Sort, page_of
from backend.problems import invalid_field
from backend.sample_queries import SampleQueries
from backend.samples import SampleCondition
from backend.stores import Stores
from backend.tables import Tables
from worker.contract.errors import CorruptRecordError, GapscopeError, NotFoundError
from worker.contract.layout import SubsetFolder, id_folders, new_id
from worker.contract.record import JobRecord
from worker.contract.subset_files import read_sample_ids, write_subset
from worker.contract.subsets import Subset, digest_of

MAX_LISTED = 100_000
"""Samples that a request may list; a filter has no such bound."""
HELD_OUT = ("test", "validation")

SubsetName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
ListedId = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class SubsetRequest(BaseModel):
    """Which training samples of a run to save: by a filter, or one by one."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"anyOf": [{"required": ["filter"]}, {"required": ["sample_ids"]}]},
    )

    name: SubsetName = Field(description="For people; a name may be used again, which makes its next version.")
    run_id: str = Field(min_length=1, max_length=64, description="The run whose samples are chosen.")
    epoch: int | None = Field(None, ge=1, le=10_000, description="Of that run; empty: its newest finished one.")
    filter: SampleCondition | None = Field(
        None, description="As in GET /runs/{id}/samples, on the training split; its epoch is the one beside it."
    )
    sample_ids: list[ListedId] | None = Field(
        None, min_length=1, max_length=MAX_LISTED, description="Samples one by one, in place of a filter."
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.filter is None) == (self.sample_ids is None):
            raise ValueError("exactly one of filter and sample_ids must be given")
        return self


class Subsets:
    """The saved subsets of one home."""

    def __init__(self, tools: JobTools, tables: Tables, stores: Stores, queries: SampleQueries) -> None:
        self._tools = tools
        self._queries = queries
        self._tables = tables
        self._stores = stores
        self._naming = threading.Lock()

    def create(self, asked: SubsetRequest) -> Subset:
        """Saves a subset durably and returns it.

        Raises:
            NotFoundError: when there is no such run, or no table of that epoch, or the dataset is gone.
            GoneError: when the table of that epoch was thinned out.
            InvalidRequestError: when a sample is held out or unknown, or none is chosen.
            InsufficientStorageError: when disk or home are full.
        """
        self._tools.require_room()
        run = self._run(asked.run_id)
        if asked.filter is not None and asked.filter.epoch not in (None, asked.epoch):
            raise invalid_field(
                "filter.epoch",
                expected=f"nothing, or the epoch beside the filter ({asked.epoch})",
                got=str(asked.filter.epoch),
                remedy="Send epoch beside the filter alone.",
            )
        epoch, table = self._tools.archive.table(run.id, asked.epoch, run.epoch)
        rows = (
            self._listed(run, asked.sample_ids)
            if asked.filter is None
            else self._found(run, epoch, table, asked.filter)
        )
        ids = [str(row["sample_id"]) for row in rows]
        facts = self._stores.facts(run.facts.dataset_id)
        with self._naming:
            subset = Subset(
                id=new_id("subset"),
                name=asked.name,
                version=1 + max((one.version for one in self.all() if one.name == asked.name), default=0),
                created_at=datetime.now(UTC),
                dataset_id=run.facts.dataset_id,
                store_digest=facts.digest if facts else "",
                run_id=run.id,
                epoch=epoch,
                filter=None if asked.filter is None else _filter(asked.filter, epoch),
                num_samples=len(ids),
                class_counts=dict(sorted(Counter(str(row["label"]) for row in rows).items())),
                digest=digest_of(ids),
            )
            write_subset(self._tools.home.subset(subset.id), subset, ids)
        return subset

    def _run(self, run_id: str) -> JobRecord:
        return self._tools.record("run", run_id)

    def _found(self, run: JobRecord, epoch: int, table: Path, condition: SampleCondition) -> list[dict[str, Any]]:
        """Returns the training samples of an epoch that pass a filter, in the store's order."""
        if condition.split in HELD_OUT:
            raise _held_out("filter.split", condition.split, "the filter asks for that split")
        source, where = self._queries.query(run, epoch, table, condition)
        where = where.add("split = ?", "train")
        sql = f"SELECT sample_id, label FROM {source.sql} WHERE {where.sql}"
        rows = self._tables.rows(sql, (*source.parameters, *where.parameters), source.beside)
        found = {row["sample_id"]: row for row in rows}
        if not found:
            raise invalid_field(
                "filter",
                expected="a filter that at least one training sample of the epoch passes",
                got="none",
                remedy="Loosen the filter.",
                code="subset-empty",
            )
        rows = [row for row in self._in_order(run, list(found)) if row["split"] == "train"]
        if len(rows) < len(found):
            raise invalid_field(
                "run_id",
                expected="a run on the dataset as it is prepared now",
                got=f"{len(found) - len(rows)} of {len(found)} chosen samples are no training samples any more",
                remedy="Train a run on the new data and choose its samples.",
                code="subset-store-changed",
            )
        return rows

    def _listed(self, run: JobRecord, sample_ids: list[str] | None) -> list[dict[str, Any]]:
        """Returns the samples of a list in the store's order, after refusing what is no training sample."""
        asked = list(dict.fromkeys(sample_ids or ()))
        rows = self._in_order(run, asked)
        known = {row["sample_id"] for row in rows}
        for split in HELD_OUT:
            held = [str(row["sample_id"]) for row in rows if row["split"] == split]
            if held:
                raise _held_out("sample_ids", split, f"{len(held)} of {len(asked)}, such as {held[0]!r}")
        unknown = [sample_id for sample_id in asked if sample_id not in known]
        if unknown:
            raise invalid_field(
                "sample_ids",
                expected=f"samples of the dataset {run.facts.dataset_id}",
                got=f"{len(unknown)} others, such as {unknown[0]!r}",
                remedy=f"GET /api/v1/datasets/{run.facts.dataset_id}/samples lists them.",
                code="subset-unknown-sample",
            )
        return rows

    def _in_order(self, run: JobRecord, sample_ids: list[str]) -> list[dict[str, Any]]:
        """Returns those of some samples that the store has, in its order: sample_id, split, label."""
        clips = self._stores.require(run.facts.dataset_id)
        sql = (
            "SELECT sample_id, split, label FROM read_parquet(?, file_row_number = true) "
            "WHERE sample_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY file_row_number"
        )
        return self._tables.rows(sql, (str(clips), sample_ids))

    def all(self) -> list[Subset]:
        """Returns all subsets that can be read, in no order."""
        found = []
        for path in id_folders(self._tools.home.subsets):
            try:
                head = head_of(SubsetFolder(path))
            except (CorruptRecordError, OSError):  # one damaged folder must not hide the others
                continue
            if head is not None:
                found.append(head)
        return found

    def page(
        self, dataset: str | None, run: str | None, sort: Sort, after: Cursor | None, limit: int
    ) -> tuple[list[Subset], Cursor | None]:
        """Returns a page of subsets, and the cursor of the next one or None at the end.

        Args:
            dataset: only those of this dataset.
            run: only those chosen in this run.
            sort: by created_at or name.
            after: the last row of the page before.
            limit: rows of a page, at least 1.
        """
        wanted = [one for one in self.all() if dataset in (None, one.dataset_id) and run in (None, one.run_id)]
        return page_of(
            wanted,
            key=lambda one: one.name if sort.field == "name" else round(one.created_at.timestamp() * 1_000),
            row_id=lambda one: one.id,
            sort=sort,
            after=after,
            limit=limit,
        )

    def require(self, subset_id: str) -> Subset:
        """Returns a subset.

        Raises:
            NotFoundError: when there is none of that id.
        """
        subset = head_of(self._tools.home.subset(subset_id))
        if subset is None:
            raise NotFoundError(f"There is no subset with the id {subset_id!r}.", code="subset-not-found")
        return subset

    def sample_ids(self, subset_id: str) -> list[str]:
        """Returns the samples of a subset, in the store's order.

        Raises:
            NotFoundError: when there is no such subset.
        """
        return read_sample_ids(self._tools.home.subset(subset_id), self.require(subset_id))

    def delete(self, subset_id: str) -> None:
        """Deletes a subset at once; runs on it have copies of their own.

        Raises:
            NotFoundError: when there is no such subset.
        """
        self.require(subset_id)
        self._tools.archive.purge(self._tools.home.subset(subset_id).path)


def _filter(condition: SampleCondition, epoch: int) -> dict[str, Any]:
    """Returns a filter as it was used."""
    return {**condition.model_dump(mode="json", exclude_none=True), "split": "train", "epoch": epoch}


def _held_out(field: str, split: str | None, got: str) -> GapscopeError:
    """Returns the refusal of samples that training must not see."""
    return invalid_field(
        field,
        expected=f"training samples alone: those of the {split} split are held out and never enter a training subset",
        got=got,
        remedy="Choose among the training samples.",
        code=f"subset-{split}-samples",
    )
