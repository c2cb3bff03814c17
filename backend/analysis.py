"""What does not fit in an event, counted from a run's sample tables: classes, confusion, correctness, flow.

Groups in words: `dominant` is a sample that the training mixture gives to its dominant group with a probability of at
least one half; `similar` is every other one. Samples without a posterior are counted apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from backend.tables import Source, Tables, Where
from worker.contract.events import ByModality

Modality = Literal["fused", "audio", "visual"]
Group = Literal["similar", "audio_dominant", "visual_dominant", "unknown"]
GROUPS: tuple[Group, ...] = ("similar", "audio_dominant", "visual_dominant", "unknown")

GROUP_SQL = """CASE WHEN posterior_imbalanced IS NULL OR gap IS NULL THEN 'unknown'
WHEN posterior_imbalanced < 0.5 THEN 'similar' WHEN gap > 0 THEN 'audio_dominant' ELSE 'visual_dominant' END"""


class ClassRow(BaseModel):
    """One class in one split at one epoch."""

    label: str
    num_samples: int
    accuracy: ByModality
    mean_gap: float | None
    mean_abs_gap: float | None
    num_dominant: int | None = Field(description="Samples of the dominant group; null without a mixture.")


class ClassTable(BaseModel):
    """All classes of one split at one epoch, by name."""

    epoch: int
    split: str
    items: list[ClassRow]


class Confusion(BaseModel):
    """True class (row) against predicted class (column)."""

    epoch: int
    split: str
    modality: Modality
    classes: list[str]
    counts: list[list[int]]
    num_samples: int


class CubeCell(BaseModel):
    """Samples that are right or wrong by each prediction."""

    fused_correct: bool | None
    audio_correct: bool | None
    visual_correct: bool | None
    num_samples: int
    mean_gap: float | None


class CorrectnessTable(BaseModel):
    """Right or wrong by fused, audio and visual prediction: at most 2 x 2 x 2 cells, empty ones left out."""

    epoch: int
    split: str | None = Field(description="Null: of all splits.")
    num_samples: int
    cells: list[CubeCell]


class FlowLink(BaseModel):
    """Samples that went from one group to another."""

    source: Group
    target: Group
    num_samples: int


class Flow(BaseModel):
    """How samples moved between groups from one epoch to another; only samples that both epochs have."""

    from_epoch: int
    to_epoch: int
    split: str
    num_samples: int
    groups: list[Group]
    links: list[FlowLink]


def class_table(tables: Tables, table: Path, epoch: int, split: str) -> ClassTable:
    """Returns accuracy and gaps of each class."""
    sql = """SELECT label, count(*) AS n, avg(fused_correct::INT) AS fused, avg(audio_correct::INT) AS audio,
        avg(visual_correct::INT) AS visual, avg(gap::DOUBLE) AS mean_gap, avg(abs(gap)::DOUBLE) AS mean_abs_gap,
        count(posterior_imbalanced) AS with_posterior, count(*) FILTER (posterior_imbalanced >= 0.5) AS dominant
        FROM read_parquet(?) WHERE split = ? GROUP BY label ORDER BY label"""
    items = [
        ClassRow(
            label=row["label"],
            num_samples=row["n"],
            accuracy=ByModality(fused=row["fused"], audio=row["audio"], visual=row["visual"]),
            mean_gap=row["mean_gap"],
            mean_abs_gap=row["mean_abs_gap"],
            num_dominant=row["dominant"] if row["with_posterior"] else None,
        )
        for row in tables.rows(sql, (str(table), split))
    ]
    return ClassTable(epoch=epoch, split=split, items=items)


def confusion(tables: Tables, table: Path, epoch: int, split: str, modality: Modality) -> Confusion:
    """Returns the confusion matrix of one prediction over the classes that occur in it."""
    sql = f"""SELECT label, predicted_{modality} AS predicted, count(*) AS n FROM read_parquet(?)
        WHERE split = ? AND predicted_{modality} IS NOT NULL GROUP BY ALL"""
    rows = tables.rows(sql, (str(table), split))
    classes = sorted({str(row["label"]) for row in rows} | {str(row["predicted"]) for row in rows})
    place = {name: index for index, name in enumerate(classes)}
    counts = [[0] * len(classes) for _ in classes]
    for row in rows:
        counts[place[row["label"]]][place[row["predicted"]]] = row["n"]
    total = sum(row["n"] for row in rows)
    return Confusion(epoch=epoch, split=split, modality=modality, classes=classes, counts=counts, num_samples=total)


def correctness_table(tables: Tables, source: Source, where: Where, epoch: int, split: str | None) -> CorrectnessTable:
    """Returns the samples that pass a condition by right and wrong of the three predictions."""
    sql = f"""SELECT fused_correct, audio_correct, visual_correct, count(*) AS num_samples,
        avg(gap::DOUBLE) AS mean_gap FROM {source.sql} WHERE {where.sql} GROUP BY ALL ORDER BY ALL DESC"""
    rows = tables.rows(sql, (*source.parameters, *where.parameters), source.beside)
    cells = [CubeCell(**row) for row in rows]
    return CorrectnessTable(epoch=epoch, split=split, num_samples=sum(cell.num_samples for cell in cells), cells=cells)


def flow(tables: Tables, before: tuple[int, Path], after: tuple[int, Path], split: str) -> Flow:
    """Returns how samples moved between the groups.

    Args:
        tables: what reads.
        before: epoch and its table.
        after: epoch and its table.
        split: the split whose samples are followed.
    """
    sql = f"""WITH source AS (SELECT sample_id, {GROUP_SQL} AS kind FROM read_parquet(?) WHERE split = ?),
        target AS (SELECT sample_id, {GROUP_SQL} AS kind FROM read_parquet(?) WHERE split = ?)
        SELECT source.kind AS source, target.kind AS target, count(*) AS num_samples
        FROM source JOIN target USING (sample_id) GROUP BY ALL ORDER BY ALL"""
    rows = tables.rows(sql, (str(before[1]), split, str(after[1]), split))
    links = [FlowLink(**row) for row in rows]
    return Flow(
        from_epoch=before[0],
        to_epoch=after[0],
        split=split,
        num_samples=sum(link.num_samples for link in links),
        groups=[group for group in GROUPS if any(group in (link.source, link.target) for link in links)],
        links=links,
    )
