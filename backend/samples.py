"""Samples of a run: filters, rows as the API shows them, one sample over all epochs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.spreads import RegionName
from backend.stores import ClipRow
from backend.tables import Tables, Where
from worker.contract.annotations import Annotation, ClipTag
from worker.contract.quality import FLAGS, METRICS, FlagName
from worker.contract.scores import ClassByModality, ProbabilityByModality, SampleRow

Changed = Literal["any", "became_right", "became_wrong"]
Split = Literal["train", "validation", "test"]
SampleSort = Literal[
    "sample_id", "gap", "abs_gap", "posterior_imbalanced", "loss_weight", "p_true_fused", "p_true_audio",
    "p_true_visual", "loss_fused", "loss_audio", "loss_visual", "gap_change", "abs_gap_change", "label",
    "loudness_dbfs", "silence_share", "clipped_share", "luminance", "sharpness", "motion", "frozen_share",
    "black_share", "duration_mismatch_s", "-sample_id", "-gap", "-abs_gap", "-posterior_imbalanced",
    "-loss_weight", "-p_true_fused", "-p_true_audio", "-p_true_visual", "-loss_fused", "-loss_audio",
    "-loss_visual", "-gap_change", "-abs_gap_change", "-label", "-loudness_dbfs", "-silence_share",
    "-clipped_share", "-luminance", "-sharpness", "-motion", "-frozen_share", "-black_share",
    "-duration_mismatch_s",
]  # fmt: skip


_TERM = rf"({'|'.join(metric.name for metric in METRICS)})(>=|<=|>|<)(-?[0-9]{{1,9}}(?:\.[0-9]{{1,9}})?)"


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

    flag: FlagName | None = Field(None, description="Only clips with this fault; GET /datasets/{id} counts them.")
    quality: str | None = Field(
        None,
        pattern=f"^{_TERM}(,{_TERM}){{0,7}}$",
        max_length=400,
        description="Conditions on measures of the clip, all of which hold: `silence_share>0.5,motion<=0.01`.",
    )

    noted: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_. -]{1,40}(=.{1,100})?$",
        description="Only clips with this note of the dataset, `corrupted`, or with this value of it, "
        "`corrupted=audio`; GET /datasets/{id}/notes lists them.",
    )
    tag: ClipTag | None = Field(None, description="Only clips that people gave this tag.")
    without_tag: ClipTag | None = Field(None, description="Only clips without this tag, such as `exclude`.")
    has_note: bool | None = Field(None, description="Only clips with (or without) a note that people wrote.")
    since: int | None = Field(None, ge=1, le=10_000, description="An earlier epoch: changes since then can be asked.")
    changed: Changed | None = Field(None, description="By the fused prediction, since the epoch `since`.")
    region: RegionName | None = Field(None, description="Only clips of this region of GET /runs/{id}/map.")
    over_from: int | None = Field(
        None, ge=1, le=10_000, description="First epoch of mean and spread, empty: 1; the last is `epoch`."
    )
    min_mean_gap: float | None = Field(None, ge=-1, le=1, description="Mean gap over epochs at least this.")
    max_mean_gap: float | None = Field(None, ge=-1, le=1, description="Mean gap over epochs at most this.")
    min_gap_deviation: float | None = Field(None, ge=0, le=1, description="Spread of the gap over epochs, at least.")
    max_gap_deviation: float | None = Field(None, ge=0, le=1, description="Spread of the gap over epochs, at most.")

    @property
    def asks_quality(self) -> bool:
        """Whether the condition needs the measures of the clips."""
        return self.flag is not None or self.quality is not None

    @property
    def asks_map(self) -> bool:
        """Whether the condition needs mean and spread over epochs."""
        bounds = (self.min_mean_gap, self.max_mean_gap, self.min_gap_deviation, self.max_gap_deviation)
        return self.region is not None or any(bound is not None for bound in bounds)

    @property
    def asks_clips(self) -> bool:
        """Whether the condition needs what does not stand in an epoch's table."""
        others = (self.noted, self.tag, self.without_tag, self.has_note)
        return self.asks_quality or self.asks_map or any(one is not None for one in others)

    def quality_where(self) -> Where:
        """Returns the condition on the measures of the clips."""
        where = Where()
        for flag in FLAGS:
            if flag.name == self.flag:
                where = where.add(f"{flag.metric} >= ?::FLOAT", flag.at_least)
        for metric, sign, value in re.findall(_TERM, self.quality or ""):
            where = where.add(f"{metric} {sign} ?::FLOAT", float(value))
        return where

    def where(self) -> Where:
        """Returns the condition on the rows of an epoch's table; see sample_queries for the rest."""
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
    rows: list[SampleRow] = Field(description="Of the newest epochs, or of those around `epoch`, oldest first.")
    trajectory: Trajectory
    annotation: Annotation = Field(description="Tags and notes of people, the same in all runs on the dataset.")
    media: dict[str, str] = Field(description="Addresses, which expire: `video`, and `audio` where it is a file apart.")


def sample_row(row: Mapping[str, Any], epoch: int, clip: ClipRow | None, tags: Sequence[str] = ()) -> SampleRow:
    """Returns a row of the table, with what the dataset and people know of the clip."""
    before = finite(row.get("gap_before"))
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
        tags=list(tags),
        gap_before=before,
        fused_was_correct=row.get("was_correct"),
    )


def finite(value: float | None) -> float | None:
    """Returns a number, or None where there is none or it is not finite: JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None


def rows_over_epochs(
    tables: Tables, paths: Mapping[int, Path], sample_id: str, guesses: Sequence[int] = ()
) -> list[tuple[int, dict[str, Any]]]:
    """Returns one sample's rows in several epochs, oldest first.

    Args:
        tables: what reads.
        paths: epoch -> its table.
        sample_id: the sample.
        guesses: rows in which it may stand: looked at first, which saves reading all ids.
    """
    found = _rows_where(tables, paths, "sample_id = ?", (sample_id,), guesses) if guesses else []
    have = {epoch for epoch, _ in found}
    left = {epoch: path for epoch, path in paths.items() if epoch not in have}
    return sorted(found + _rows_where(tables, left, "sample_id = ?", (sample_id,), ()), key=lambda pair: pair[0])


def _rows_where(
    tables: Tables, paths: Mapping[int, Path], clause: str, parameters: tuple[Any, ...], places: Sequence[int]
) -> list[tuple[int, dict[str, Any]]]:
    if not paths:
        return []
    if places:
        clause = f"file_row_number IN ({', '.join('?' * len(places))}) AND {clause}"
    marks = ", ".join("?" * len(paths))
    read = f"read_parquet([{marks}], filename = true, file_row_number = true)"
    epochs = {str(path): epoch for epoch, path in paths.items()}
    rows = tables.rows(f"SELECT * FROM {read} WHERE {clause}", (*epochs, *places, *parameters))
    return [(epochs[row["filename"]], row) for row in rows]
