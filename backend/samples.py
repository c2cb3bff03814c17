"""Samples of a run: filters, rows as the API shows them, one sample over all epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.stores import ClipRow
from backend.tables import Tables, Where
from worker.contract.scores import ClassByModality, ProbabilityByModality, SampleRow

Split = Literal["train", "validation", "test"]
SampleSort = Literal[
    "sample_id", "gap", "abs_gap", "posterior_imbalanced", "loss_weight", "p_true_fused", "p_true_audio",
    "p_true_visual", "label",
    "-sample_id", "-gap", "-abs_gap", "-posterior_imbalanced", "-loss_weight", "-p_true_fused", "-p_true_audio",
    "-p_true_visual", "-label",
]  # fmt: skip


class SampleCondition(BaseModel):
    """Which samples of which epoch."""

    model_config = ConfigDict(extra="forbid")

    epoch: int | None = Field(None, ge=1, le=10_000, description="Empty: the newest finished epoch.")
    split: Split | None = Field(None, description="Only samples of this split.")
    min_gap: float | None = Field(None, ge=-1, le=1, description="Gap at least this.")
    max_gap: float | None = Field(None, ge=-1, le=1, description="Gap at most this.")
    min_posterior: float | None = Field(None, ge=0, le=1, description="Posterior at least this.")
    max_posterior: float | None = Field(None, ge=0, le=1, description="Posterior at most this.")
    label: str | None = Field(None, min_length=1, max_length=200, description="Only samples of this class.")
    fused_correct: bool | None = Field(None, description="Right (true) or wrong (false) by the fused prediction.")
    audio_correct: bool | None = Field(None, description="Right or wrong by sound alone.")
    visual_correct: bool | None = Field(None, description="Right or wrong by picture alone.")

    def where(self) -> Where:
        """Returns the condition on rows of the table."""
        where = Where()
        for clause, value in (
            ("split = ?", self.split),
            ("gap >= ?", self.min_gap),
            ("gap <= ?", self.max_gap),
            ("posterior_imbalanced >= ?", self.min_posterior),
            ("posterior_imbalanced <= ?", self.max_posterior),
            ("label = ?", self.label),
            ("fused_correct = ?", self.fused_correct),
            ("audio_correct = ?", self.audio_correct),
            ("visual_correct = ?", self.visual_correct),
        ):
            if value is not None:
                where = where.add(clause, value)
        return where


class SamplePage(BaseModel):
    """A page of samples of one epoch."""

    items: list[SampleRow]
    next: str | None = Field(None, description="Cursor of the next page; null at the end.")
    epoch: int = Field(description="The epoch of all rows, on this page and on those that follow it.")
    total: int = Field(description="Samples that pass the filter.")


class Trajectory(BaseModel):
    """One sample's gap and posterior over all finished epochs; null where it was not evaluated."""

    epochs: list[int]
    gap: list[float | None]
    posterior_imbalanced: list[float | None]


class SampleDocument(BaseModel):
    """One sample of a run."""

    sample_id: str
    run_id: str
    dataset_id: str
    split: str
    label: str
    duration_s: float | None
    quality: dict[str, float | None]
    notes: dict[str, str]
    rows: list[SampleRow] = Field(description="The newest epochs' rows, oldest first; see `last`.")
    trajectory: Trajectory
    media: dict[str, str] = Field(description="Addresses, which expire: `video`, and `audio` where it is a file apart.")


def sample_row(row: Mapping[str, Any], epoch: int, clip: ClipRow | None) -> SampleRow:
    """Returns a row of the table, with what the dataset knows of the clip."""
    return SampleRow(
        sample_id=row["sample_id"],
        split=row["split"],
        label=row["label"],
        epoch=epoch,
        gap=finite(row["gap"]),
        posterior_imbalanced=finite(row["posterior_imbalanced"]),
        loss_weight=1.0 if finite(row["loss_weight"]) is None else row["loss_weight"],
        p_true=ProbabilityByModality(
            fused=finite(row["p_true_fused"]), audio=finite(row["p_true_audio"]), visual=finite(row["p_true_visual"])
        ),
        predicted=ClassByModality(
            fused=row["predicted_fused"], audio=row["predicted_audio"], visual=row["predicted_visual"]
        ),
        quality=clip.quality if clip else {},
        notes=clip.sample.notes if clip else {},
    )


def finite(value: float | None) -> float | None:
    """Returns a number, or None where there is none or it is not finite: JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None


def rows_over_epochs(tables: Tables, paths: Mapping[int, Path], sample_id: str) -> list[tuple[int, dict[str, Any]]]:
    """Returns one sample's rows in several epochs, oldest first.

    Args:
        tables: what reads.
        paths: epoch -> its table.
        sample_id: the sample.
    """
    if not paths:
        return []
    marks = ", ".join("?" * len(paths))
    sql = f"SELECT *, filename FROM read_parquet([{marks}], filename = true) WHERE sample_id = ?"
    epochs = {str(path): epoch for epoch, path in paths.items()}
    rows = tables.rows(sql, (*epochs, sample_id))
    return sorted(((epochs[row["filename"]], row) for row in rows), key=lambda pair: pair[0])
