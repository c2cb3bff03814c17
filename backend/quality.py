"""The measured quality of clips, counted: over a dataset, between its splits, and in a run's dominant groups."""

from __future__ import annotations

import contextlib
import logging
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from backend.tables import Source, Tables
from worker.contract.layout import write_atomically
from worker.contract.quality import FLAGS, METRICS, Flag
from worker.contract.resources import DatasetQuality, FlagCount, Leak, MetricSummary, SameContent

log = logging.getLogger(__name__)
NUM_BINS = 20
SUMMARY_FORMAT = 1
"""Of the kept summaries: another number where they are counted otherwise."""
SHOWN_PAIRS = 100
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
DOMINANT_GAP = 0.5
"""|gap| from which a clip is audio-dominant or visual-dominant, as in the reports (worker.science.metrics)."""
SIGNIFICANCE = 0.05
"""Chance of a false finding in one diagnosis, divided by the number of its comparisons (Bonferroni)."""
_SPLITS = {"train": "training", "validation": "validation", "test": "test"}
_DESCRIBED = (
    ("duration_s", "Duration", "s", "Length of the whole clip: of its longer track."),
    *((metric.name, metric.title, metric.unit, metric.description) for metric in METRICS),
)


@dataclass(frozen=True)
class FaultCount:
    """Clips with a fault in one dominant group, and among the split's other clips."""

    flag: Flag
    modality: Literal["audio", "visual"]
    num_faulty: int
    num_clips: int
    other_faulty: int
    other_clips: int


class _Kept(BaseModel):
    """A summary on the disk, and of which table it is."""

    model_config = ConfigDict(extra="forbid")

    format: int
    stamp: int
    quality: DatasetQuality


@lru_cache(maxsize=64)
def dataset_quality(tables: Tables, clips: Path, stamp: int, kept: Path) -> DatasetQuality:
    """Returns what was measured of a dataset's clips: counted once for a table, which takes 3 s for a million clips.

    Args:
        tables: what reads.
        clips: the table of clips, of a store that has measures.
        stamp: time of its last change: another table, another answer.
        kept: file that keeps the answer.
    """
    try:
        before = _Kept.model_validate_json(kept.read_bytes())
        if (before.format, before.stamp) == (SUMMARY_FORMAT, stamp):
            return before.quality
    except (OSError, ValueError):
        log.info("the clips of %s are counted", clips)
    counted = _counted(tables, clips)
    with contextlib.suppress(OSError):  # a full disk, or the dataset is being deleted: counted again next time
        write_atomically(kept, _Kept(format=SUMMARY_FORMAT, stamp=stamp, quality=counted).model_dump_json().encode())
    return counted


def _counted(tables: Tables, clips: Path) -> DatasetQuality:
    summaries = (_summary(tables, clips, *described) for described in _DESCRIBED)
    return DatasetQuality(
        metrics=[summary for summary in summaries if summary is not None],
        flags=[_flag(tables, clips, flag) for flag in FLAGS],
        leaks=_leaks(tables, clips),
        same_content=_same_content(tables, clips),
        num_same_content_within=_within(tables, clips),
    )


def _summary(tables: Tables, clips: Path, name: str, title: str, unit: str, description: str) -> MetricSummary | None:
    sql = f"""SELECT count({name}) AS n, min({name})::DOUBLE AS low, max({name})::DOUBLE AS high,
        quantile_cont({name}::DOUBLE, {list(QUANTILES)}) AS quantiles FROM read_parquet(?)"""
    row = tables.rows(sql, (str(clips),))[0]
    if not row["n"]:
        return None
    low, high = row["low"], row["high"]
    edges, counts = _histogram(tables, clips, name, low, high) if high > low else ([low, high], [row["n"]])
    return MetricSummary(
        metric=name,
        title=title,
        unit=unit,
        description=description,
        num_clips=row["n"],
        minimum=low,
        maximum=high,
        quantiles={f"{share:g}": value for share, value in zip(QUANTILES, row["quantiles"], strict=True)},
        edges=edges,
        counts=counts,
    )


def _histogram(tables: Tables, clips: Path, name: str, low: float, high: float) -> tuple[list[float], list[int]]:
    width = (high - low) / NUM_BINS
    counted = tables.rows(
        f"""SELECT least(floor(({name}::DOUBLE - ?) / ?)::INT, {NUM_BINS - 1}) AS bin, count(*) AS n
        FROM read_parquet(?) WHERE {name} IS NOT NULL GROUP BY bin""",
        (low, width, str(clips)),
    )
    by_bin = {item["bin"]: item["n"] for item in counted}
    return [low + width * k for k in range(NUM_BINS + 1)], [by_bin.get(k, 0) for k in range(NUM_BINS)]


def _flag(tables: Tables, clips: Path, flag: Flag) -> FlagCount:
    sql = f"""SELECT split::VARCHAR AS split, count({flag.metric}) AS measured,
        count(*) FILTER ({flag.metric} >= ?::FLOAT) AS faulty FROM read_parquet(?) GROUP BY split"""
    rows = tables.rows(sql, (flag.at_least, str(clips)))
    faulty, measured = sum(row["faulty"] for row in rows), sum(row["measured"] for row in rows)
    return FlagCount(
        flag=flag.name,
        metric=flag.metric,
        at_least=flag.at_least,
        text=f"{faulty:,} of {measured:,} clips {flag.words} ({flag.rule}).",
        num_clips=faulty,
        num_measured=measured,
        splits={row["split"]: row["faulty"] for row in rows},
    )


_CONTENT = """content AS (SELECT split::VARCHAR AS split, sample_id, content_hash,
    list_position(['train', 'validation', 'test'], split::VARCHAR) AS place
    FROM read_parquet(?) WHERE content_hash IS NOT NULL)"""


def _leaks(tables: Tables, clips: Path) -> list[Leak]:
    """Returns, for each split, how many of its clips stand in an earlier split too (train, validation, test)."""
    sql = f"""WITH {_CONTENT}, kinds AS (SELECT DISTINCT split, place, content_hash FROM content)
        SELECT a.split, b.split AS other_split, count(*) AS n,
            (SELECT count(*) FROM read_parquet(?) WHERE split::VARCHAR = a.split) AS of_split
        FROM content a JOIN kinds b ON a.content_hash = b.content_hash AND a.place > b.place
        GROUP BY a.split, a.place, b.split, b.place ORDER BY b.place, a.place DESC"""
    return [
        Leak(
            split=row["split"],
            other_split=row["other_split"],
            num_clips=row["n"],
            num_clips_of_split=row["of_split"],
            text=f"{row['n']:,} of {row['of_split']:,} {_SPLITS[row['split']]} clips have the same content as "
            f"{_SPLITS[row['other_split']]} clips.",
        )
        for row in tables.rows(sql, (str(clips), str(clips)))
    ]


def _same_content(tables: Tables, clips: Path) -> list[SameContent]:
    sql = f"""WITH {_CONTENT}, firsts AS (SELECT place, any_value(split) AS split, content_hash,
            min(sample_id) AS sample_id FROM content GROUP BY place, content_hash)
        SELECT a.sample_id, a.split, b.sample_id AS other_sample_id, b.split AS other_split
        FROM content a JOIN firsts b ON a.content_hash = b.content_hash AND a.place > b.place
        ORDER BY b.place, a.place DESC, a.sample_id LIMIT {SHOWN_PAIRS:d}"""
    return [SameContent(**row) for row in tables.rows(sql, (str(clips),))]


def _within(tables: Tables, clips: Path) -> int:
    sql = f"""WITH {_CONTENT} SELECT coalesce(sum(n - 1), 0)::BIGINT AS n
        FROM (SELECT count(*) AS n FROM content GROUP BY split, content_hash)"""
    return int(tables.rows(sql, (str(clips),))[0]["n"])


def fault_counts(tables: Tables, source: Source, split: str) -> list[FaultCount]:
    """Returns, for each dominant group and each flag, how many clips have the fault there and elsewhere in the split.

    Clips without a gap, and clips of which the metric is unknown, are not counted.

    Args:
        tables: what reads.
        source: a run's sample table joined with the clips' quality.
        split: the split in question.
    """
    counted = ", ".join(
        f"count({flag.metric}) AS {flag.name}_n, "
        f"count(*) FILTER ({flag.metric} >= {flag.at_least}::FLOAT) AS {flag.name}"
        for flag in FLAGS
    )
    sql = f"""SELECT CASE WHEN gap >= {DOMINANT_GAP} THEN 'audio' WHEN gap <= -{DOMINANT_GAP} THEN 'visual'
        ELSE 'similar' END AS kind, {counted} FROM {source.sql}
        WHERE split::VARCHAR = ? AND gap IS NOT NULL AND NOT isnan(gap) GROUP BY kind"""
    rows: dict[str, dict[str, Any]] = {row["kind"]: row for row in tables.rows(sql, (*source.parameters, split))}
    modalities: tuple[Literal["audio", "visual"], ...] = ("audio", "visual")
    found = []
    for modality in modalities:
        for flag in FLAGS:
            here = rows.get(modality, {})
            others = [row for kind, row in rows.items() if kind != modality]
            found.append(
                FaultCount(
                    flag=flag,
                    modality=modality,
                    num_faulty=here.get(flag.name, 0),
                    num_clips=here.get(f"{flag.name}_n", 0),
                    other_faulty=sum(row[flag.name] for row in others),
                    other_clips=sum(row[f"{flag.name}_n"] for row in others),
                )
            )
    return found


def fisher_exact(faulty: int, clips: int, other_faulty: int, other_clips: int) -> float:
    """Returns the one-sided p-value of Fisher's exact test: that so many of the faulty clips lie in the first group.

    Args:
        faulty: faulty clips of the first group.
        clips: all clips of it.
        other_faulty: faulty clips of the second group.
        other_clips: all clips of it.

    Source: Fisher, Statistical Methods for Research Workers (1934), the hypergeometric tail.
    """
    if not clips or not other_clips:
        return 1.0
    drawn, total = faulty + other_faulty, clips + other_clips
    whole = _log_choose(total, drawn)
    terms = (
        math.exp(_log_choose(clips, k) + _log_choose(other_clips, drawn - k) - whole)
        for k in range(faulty, min(clips, drawn) + 1)
    )
    return min(1.0, math.fsum(terms))


def _log_choose(total: int, chosen: int) -> float:
    if chosen < 0 or chosen > total:
        return -math.inf
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
