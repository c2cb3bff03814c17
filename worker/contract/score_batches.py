"""Many clips scored at once: what is asked for, how far it is, and the rows of the table that comes of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from worker.contract.errors import Problem
from worker.contract.events import Record
from worker.contract.scores import JobState
from worker.contract.spec.base import Spec
from worker.contract.spec.datasets import PATH_PATTERN

TableFormat = Literal["csv", "parquet"]
RUN_ID_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"

BATCH_COLUMNS: dict[str, str] = {
    "sample_id": "string",
    "path": "string",
    "label": "string",
    "predicted_fused": "string",
    "predicted_audio": "string",
    "predicted_visual": "string",
    "p_true_fused": "float32",
    "p_true_audio": "float32",
    "p_true_visual": "float32",
    "p_predicted_fused": "float32",
    "p_predicted_audio": "float32",
    "p_predicted_visual": "float32",
    "gap": "float32",
    "gap_of": "string",
    "posterior_imbalanced": "float32",
    "opposite_tail": "bool",
    "outside_training": "bool",
    "gap_quantile": "float32",
    "modalities_present": "string",
    "padded": "bool",
    "notes": "string",
    "error_code": "string",
    "error": "string",
}
"""Columns of the table of a batch, one row a clip; empty where a value does not apply.

`p_true_*` are probabilities of the given label, where the run knows it; `p_predicted_*` those of each branch's own
prediction; `modalities_present` is `audio`, `visual` or `audio+visual`.
"""

BatchRow = dict[str, Any]
"""One row: a value or None for each of BATCH_COLUMNS."""


class ScoreBatchRequest(Spec):
    """Which clips to score, by which run."""

    model_config = ConfigDict(strict=True)

    run_id: str = Field(pattern=RUN_ID_PATTERN, description="The run whose model scores the clips.")
    path: str = Field(
        min_length=1,
        max_length=4_096,
        pattern=PATH_PATTERN,
        description="A folder of clips, or a manifest (.csv), as the server sees it (absolute). Labels are optional.",
    )
    epoch: int | None = Field(
        None, ge=1, le=1_000_000, description="The epoch whose checkpoint to use; by default the chosen one."
    )
    format: TableFormat = Field("csv", description="What the table's address gives by default.")


class BatchProgress(Record):
    """How far a batch is."""

    done: int = Field(0, ge=0)
    total: int = Field(0, ge=0, description="0 while the clips are being listed.")
    failed: int = Field(0, ge=0, description="Clips that cannot be scored; their rows say why.")
    fraction: float = Field(0.0, ge=0.0, le=1.0)
    eta_s: float | None = None
    clips_per_s: float | None = None


class ScoreBatch(Record):
    """A batch as the API shows it."""

    id: str
    state: JobState
    run_id: str
    path: str
    epoch: int | None = Field(None, description="Whose weights score; null until the first clip is scored.")
    format: TableFormat
    created_at: datetime
    finished_at: datetime | None = None
    progress: BatchProgress
    table: str | None = Field(None, description="Address of the table, once there is one.")
    error: Problem | None = None
