"""From what a caller asks of a run's samples to the rows of a table: conditions on the table, the clips and the past.

What does not stand in the epoch's own table (measures, notes, tags, an earlier epoch, the mean over epochs) becomes
columns beside it, aligned by the clips' ids once for a table and kept. DuckDB reads both side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backend.annotations import Annotations
from backend.archive import Archive
from backend.problems import invalid_field
from backend.sample_index import places, rows_of
from backend.samples import SampleCondition
from backend.spreads import gaps_at, spread
from backend.stores import QUALITY_COLUMNS, Stores
from backend.tables import PASSES, SINCE_SORTS, Source, Tables, Where
from worker.contract.errors import NotFoundError
from worker.contract.layout import Home
from worker.contract.quality import METRICS
from worker.contract.record import JobRecord

Mask = NDArray[np.bool_]
NOTE_FILTERS_KEPT = 8
METRIC_NAMES = tuple(metric.name for metric in METRICS)


class SampleQueries:
    """Makes the source and the condition of a query on a run's samples."""

    def __init__(self, home: Home, archive: Archive, tables: Tables, stores: Stores, annotations: Annotations) -> None:
        self._home = home
        self._archive = archive
        self._tables = tables
        self._stores = stores
        self._annotations = annotations

    def query(
        self, run: JobRecord, epoch: int, table: Path, wanted: SampleCondition, sort: str = "sample_id"
    ) -> tuple[Source, Where]:
        """Returns what to read and which rows of it.

        Args:
            run: the run.
            epoch: of the table.
            table: the epoch's samples.
            wanted: the caller's filter.
            sort: what is sorted by, without a direction.

        Raises:
            InvalidRequestError: a change is asked for, but not since when.
            NotFoundError: the dataset is not prepared, or `since` names no epoch.
            GoneError: the table of the epoch `since` was thinned out.
        """
        where, extra = wanted.where(), {}
        if wanted.asks_clips:
            extra[PASSES] = self._on_rows(run, table, self._clip_mask(run, epoch, wanted), False)
            where = where.add(PASSES)
        if sort in QUALITY_COLUMNS:
            extra[sort] = self._measure(run, table, sort)
        if wanted.since is None:
            if sort in SINCE_SORTS or wanted.changed is not None:
                raise invalid_field(
                    "since",
                    expected="the epoch since which changes count",
                    got="none",
                    remedy="Send since=1, or sort by something else.",
                )
        else:
            extra |= self._since(run, table, wanted.since)
            if wanted.changed is not None:
                now, before = {"became_right": ("", "NOT "), "became_wrong": ("NOT ", "")}.get(wanted.changed, ("", ""))
                clause = f"{now}fused_correct AND {before}was_correct"
                where = where.add(clause if now or before else "fused_correct <> was_correct")
        return Source.of(table, pa.table(extra) if extra else None), where

    def rows_of(self, run: JobRecord, tables: Sequence[Path], index: int) -> list[int]:
        """Returns the rows in which a clip stands in some tables of a run.

        Args:
            run: the run.
            tables: of its epochs.
            index: the clip's row in the dataset's store.
        """
        clips = self._stores.require(run.facts.dataset_id)
        found = (np.flatnonzero(places(self._tables, table, clips) == index) for table in dict.fromkeys(tables))
        return sorted({int(row) for rows in found for row in rows})

    def export(self, run: JobRecord, epoch: int, table: Path, wanted: SampleCondition) -> tuple[Source, Where]:
        """Returns as `query`, with the measures of the clips and the tags and notes of people beside the rows."""
        source, where = self.query(run, epoch, table, wanted)
        beside = {} if source.beside is None else {name: source.beside[name] for name in source.beside.column_names}
        dataset_id = run.facts.dataset_id
        if self._stores.facts(dataset_id) is None:
            rows = self._tables.count(Source.of(table), Where())
            beside |= {name: pa.nulls(rows, pa.float32()) for name in METRIC_NAMES}
            beside |= {name: pa.nulls(rows, pa.string()) for name in ("tags", "note")}
        else:
            beside |= {name: self._measure(run, table, name) for name in METRIC_NAMES}
            beside |= self._said(run, table)
        return Source.of(table, pa.table(beside)), where

    def _said(self, run: JobRecord, table: Path) -> dict[str, pa.Array]:
        """Returns tags and notes of people by the table's rows."""
        said = {one.sample_id: one for one in self._annotations.all(run.facts.dataset_id)}
        sql = (
            "SELECT file_row_number, sample_id FROM read_parquet(?, file_row_number = true) "
            "WHERE sample_id IN (SELECT unnest(?::VARCHAR[]))"
        )
        found = self._tables.rows(sql, (str(table), list(said))) if said else []
        count = self._tables.count(Source.of(table), Where())
        tags, notes = np.full(count, None, object), np.full(count, None, object)
        for row in found:
            one = said[row["sample_id"]]
            tags[row["file_row_number"]] = ", ".join(tagged.tag for tagged in one.tags) or None
            notes[row["file_row_number"]] = one.note or None
        return {"tags": pa.array(tags, pa.string()), "note": pa.array(notes, pa.string())}

    def _on_rows(self, run: JobRecord, table: Path, values: NDArray[Any], missing: Any) -> pa.Array:
        """Returns values of the store's clips (N,) in the order of a table's rows; NaN becomes null."""
        at = places(self._tables, table, self._stores.require(run.facts.dataset_id))
        found = np.where(at >= 0, values[at], missing) if len(values) else np.full(len(at), missing)
        return pa.array(found.astype(values.dtype), from_pandas=True)

    def _clip_mask(self, run: JobRecord, epoch: int, wanted: SampleCondition) -> Mask:
        """Returns which clips (N,) of the dataset pass what is not in the epoch's table."""
        dataset_id = run.facts.dataset_id
        clips = self._stores.require(dataset_id)
        facts = self._stores.facts(dataset_id)
        count = facts.num_samples if facts else 0
        passes = np.ones(count, bool)
        if wanted.asks_quality:
            quality = wanted.quality_where()
            sql = f"SELECT coalesce({quality.sql}, false) AS ok FROM read_parquet(?)"
            measured = self._stores.is_measured(dataset_id)
            passes &= self._tables.column(sql, (*quality.parameters, str(clips))) if measured else False
        if wanted.noted is not None:
            name, _, value = wanted.noted.partition("=")
            passes &= _noted(self._tables, clips, clips.stat().st_mtime_ns, name, value or None)
        for tag, has in ((wanted.tag, True), (wanted.without_tag, False)):
            if tag is not None:
                passes &= self._members(clips, count, self._annotations.with_tag(dataset_id, tag)) == has
        if wanted.has_note is not None:
            passes &= self._members(clips, count, self._annotations.noted(dataset_id)) == wanted.has_note
        if wanted.asks_map:
            passes &= self._on_map(run, count, epoch, wanted)
        return passes

    def _members(self, clips: Path, count: int, sample_ids: list[str]) -> Mask:
        mask = np.zeros(count, bool)
        mask[rows_of(self._tables, clips, sample_ids)] = True
        return mask

    def _on_map(self, run: JobRecord, count: int, epoch: int, wanted: SampleCondition) -> Mask:
        found = spread(self._home.run(run.id), count, wanted.over_from or 1, epoch)
        passes = np.ones(count, bool) if wanted.region is None else found.region(wanted.region)
        with np.errstate(invalid="ignore"):
            for low, values, high in (
                (wanted.min_mean_gap, found.mean, wanted.max_mean_gap),
                (wanted.min_gap_deviation, found.deviation, wanted.max_gap_deviation),
            ):
                passes = passes if low is None else passes & (values >= np.float32(low))
                passes = passes if high is None else passes & (values <= np.float32(high))
        return passes

    def _measure(self, run: JobRecord, table: Path, name: str) -> pa.Array:
        clips, dataset_id = self._stores.require(run.facts.dataset_id), run.facts.dataset_id
        facts = self._stores.facts(dataset_id)
        if not self._stores.is_measured(dataset_id):
            values = np.full(facts.num_samples if facts else 0, np.nan, np.float32)
        else:
            sql = f"SELECT coalesce({name}, 'nan'::FLOAT)::FLOAT AS value FROM read_parquet(?)"
            values = self._tables.column(sql, (str(clips),))
        return self._on_rows(run, table, values, np.nan)

    def _since(self, run: JobRecord, table: Path, since: int) -> dict[str, pa.Array]:
        """Returns the gaps of an earlier epoch, and whether the fused prediction was right then, by the table's rows.

        Gaps are of the trajectories, which hold every epoch. Of an epoch whose table was thinned out, or that another
        dataset has since replaced, it is not known who was right.
        """
        if not 1 <= since <= run.epoch:
            raise NotFoundError(
                f"Run {run.id} has no epoch {since}; it has finished {run.epoch}.", code="epoch-not-found"
            )
        facts = self._stores.facts(run.facts.dataset_id)
        count = facts.num_samples if facts else 0
        folder = self._home.run(run.id)
        spread(folder, count, since, since)  # refuses trajectories of other data
        gaps = self._on_rows(run, table, gaps_at(folder.gaps, count, since), np.nan)
        _, earlier = self._archive.table(run.id, since, run.epoch)
        clips = self._stores.require(run.facts.dataset_id)
        right = self._tables.column(
            "SELECT coalesce(fused_correct::TINYINT, -1::TINYINT) AS right FROM read_parquet(?)", (str(earlier),)
        )
        of_clip = np.full(count, -1, np.int8)
        at = places(self._tables, earlier, clips)
        of_clip[at[at >= 0]] = right[at >= 0]
        here = places(self._tables, table, clips)
        was = np.where(here >= 0, of_clip[here], -1)
        return {"gap_before": gaps, "was_correct": pa.array(was == 1, mask=was < 0)}


@lru_cache(maxsize=NOTE_FILTERS_KEPT)
def _noted(tables: Tables, clips: Path, stamp: int, name: str, value: str | None) -> Mask:
    """Returns which clips (N,) have a note of a name, of one value or of any."""
    del stamp  # part of the cache's key: another table, another answer
    found = "json_extract_string(notes, ?)"
    condition = f"{found} IS NOT NULL" if value is None else f"coalesce({found} = ?, false)"
    sql = f"SELECT notes <> '{{}}' AND {condition} AS ok FROM read_parquet(?)"
    parameters = (f'$."{name}"', *(() if value is None else (value,)), str(clips))
    return np.asarray(tables.column(sql, parameters), bool)
